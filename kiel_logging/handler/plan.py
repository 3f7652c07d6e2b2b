"""Everything that a handler's pipelines are made from, one after another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from kiel_logging.handler.events import ConvertOwn
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import OnError
from kiel_logging.handler.options import HandlerOptions
from kiel_logging.handler.receipts import OpenBlocks

if TYPE_CHECKING:
    from kiel_logging.handler.pipeline import Pipeline
    from kiel_logging.handler.spool.append_pipeline import AppendPipeline

AnyPipeline: TypeAlias = "Pipeline | AppendPipeline"
"""Where a handler's items go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the pipelines of a handler are made from."""

    options: HandlerOptions
    name: Callable[[], str | None]
    blocks: OpenBlocks
    convert_own: ConvertOwn
    internal_log: InternalLog
    fallback: Fallback | None
    on_error: OnError
