"""What a pipeline with ``spool_dir`` has more than one without: put together."""

from collections.abc import Callable, Sequence

from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.pipeline.events import ConvertOwn, Events
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.pipeline.shipper import Shipper
from kiel_logging.handler.spooling.committing import Committing
from kiel_logging.handler.spooling.merging import Merging
from kiel_logging.handler.spooling.overflowing import Overflowing
from kiel_logging.handler.spooling.placed import Tickets
from kiel_logging.handler.spooling.sources import Spool
from kiel_logging.proof.stamper import Stamper

Put = Callable[[Item], Sequence[Item]]


def equip_to_overflow(
    spool: Spool, shipper: Shipper, handoff: Handoff, stamper: Stamper, instance: str
) -> None:
    """Let what memory can't hold go to disk."""
    _connect(spool, shipper)
    spool.own = Overflowing(
        handoff,
        spool.file,
        spool.worker,
        Tickets(),
        stamper=stamper,
        instance=instance,
        stamp=shipper.stamp,
        own=shipper.own,
        changed=spool.changed,
        complain=spool.complain,
    )


def equip_to_commit(
    spool: Spool,
    shipper: Shipper,
    handoff: Handoff,
    stamper: Stamper,
    instance: str,
    *,
    convert: ConvertOwn,
    name: Callable[[], str],
    internal_log: InternalLog,
    wake: Callable[[bool], None],
    batch_size: int,
) -> Put:
    """Let everything go to disk first; return what takes the place of the hand-off's ``put``."""
    _connect(spool, shipper)
    tickets = Tickets()
    own = Merging(
        handoff,
        spool.file,
        spool.worker,
        tickets,
        linger=shipper.outbox.linger,
        changed=spool.changed,
        complain=spool.complain,
    )
    own.committing = Committing(
        handoff,
        spool.file,
        stamper=stamper,
        instance=instance,
        home=own,
        events=Events(convert, internal_log),
        name=name,
        tickets=tickets,
        wake=wake,
        batch_size=batch_size,
        complain=spool.complain,
    )
    spool.own = own
    return own.committing.put


def _connect(spool: Spool, shipper: Shipper) -> None:
    spool.changed = shipper.start_feeding
    spool.recovered = shipper.tell_of_recovery
