"""Everything that a handler's pipelines are made from, one after another."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kiel_logging.handler.events import ConvertOwn
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import OnError
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.handler.record_options import HandlerOptions

if TYPE_CHECKING:
    from kiel_logging.handler.pipeline import Pipeline
    from kiel_logging.handler.spool.append_pipeline import AppendPipeline

AnyPipeline: TypeAlias = "Pipeline | AppendPipeline"
"""Where a handler's items go."""


class Plan(NamedTuple):
    """Everything that the pipelines of a handler are made from."""

    options: HandlerOptions
    name: Callable[[], str | None]
    blocks: OpenBlocks
    convert_own: ConvertOwn
    internal_log: InternalLog
    fallback: Fallback | None
    on_error: OnError
