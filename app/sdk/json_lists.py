"""A field that takes a JSON list of objects: blocks, embeds, or one value of an earlier step that is such a list."""

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator


def _flat(given: Any) -> Any:
    """A lone `{{ event.blocks }}` stands in a list of its own before it is rendered (`app.sdk.fields.spread`)."""
    return given[0] if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list) else given


Objects: TypeAlias = Annotated[list[dict[str, Any]], BeforeValidator(_flat)]
