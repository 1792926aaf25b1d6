"""The client's page cut out of the enlarged answer: rescored, or as it would have been without us."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_plugin.blend import Placed
from search_plugin.first_stage import FirstStage
from search_plugin.plan import Plan
from search_plugin.raw_json import (
    Edit,
    Node,
    apply_edits,
    drop_entries,
    join_array,
    put_entry,
    scan_object,
)

PREVIOUS_SCORE = "_rerank.previous_score"

Note = Mapping[str, Any]


def merge(plan: Plan, first_stage: FirstStage, placed: Sequence[Placed], note: Note | None = None) -> str:
    """Cut the client's page out of the new order.

    Args:
        first_stage: the enlarged answer; not changed.
        placed: all hits in the order that the client sees.
        note: what is told in the answer under ``ext.rerank``.

    Returns:
        The answer with only the page in ``hits.hits``; each ``_score`` is the new one, ``max_score`` that of
        the first hit of all pages. What was asked for only to be scored is taken out again.
    """
    page = placed[plan.page_from : plan.page_from + plan.page_size]
    ranks = range(plan.page_from + 1, plan.page_from + 1 + len(page))
    hits = [_write_hit(plan, first_stage, place, rank) for place, rank in zip(page, ranks, strict=True)]
    max_score = _write_score(placed[0].score) if placed else "null"
    return _write_answer(first_stage, hits, max_score, note)


def restore(plan: Plan, first_stage: FirstStage, note: Note | None = None) -> str:
    """Cut the client's page out of the enlarged answer, scores and order as the cluster sent them."""
    page = first_stage.hits[plan.page_from : plan.page_from + plan.page_size]
    hits = [
        apply_edits(hit.text, hit.start, hit.end, _edit_fields(plan, hit.text, hit.scan())) for hit in page
    ]
    return _write_answer(first_stage, hits, None, note)


def _write_score(score: float) -> str:
    """Write 7 digits (what a 32-bit float holds) and always a fraction: no client reads an integer."""
    digits, exponent_mark, exponent = f"{score:.7g}".partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{exponent_mark}{exponent}"


def _write_hit(plan: Plan, first_stage: FirstStage, place: Placed, rank: int) -> str:
    hit, text = first_stage.hits[place.hit], first_stage.text
    members = hit.scan()
    old = members.get("_score")
    previous = text[old.start : old.end] if old and plan.policy.keep_previous_score else None
    edits = list(_edit_fields(plan, text, members, previous))
    if old is not None:
        score = _write_score(place.score)
        edits.append((old.start, old.end, score))
        if explanation := members.get("_explanation"):
            base = text[explanation.start : explanation.end]
            edits.append((explanation.start, explanation.end, _explain(plan, place, rank, score, base)))
    return apply_edits(text, hit.start, hit.end, edits)


def _edit_fields(
    plan: Plan, text: str, members: Mapping[str, Node[Any]], previous_score: str | None = None
) -> Iterator[Edit]:
    """Take our fields out of the hit's ``fields``, and put the first-stage score in."""
    fields = members.get("fields")
    kept = f'"{PREVIOUS_SCORE}":[{previous_score}]' if previous_score is not None else None
    if fields is None:
        if kept:
            yield put_entry(text, list(members.values()), f'"fields":{{{kept}}}')
        return
    if not isinstance(fields.value, dict):
        return
    ours = [name for name in fields.value if _is_added(name, plan.added_fields)]
    entries = scan_object(text, fields.start)[0]
    if len(ours) == len(entries) and not kept:
        yield from drop_entries(members, ("fields",))
    elif len(ours) == len(entries):
        yield fields.start, fields.end, f"{{{kept}}}"
    else:
        yield from drop_entries(entries, ours)
        if kept:
            yield put_entry(text, list(entries.values()), kept)


def _is_added(name: str, added: Sequence[str]) -> bool:
    # a field inside a nested object comes back under the object's name
    return any(field == name or field.startswith(f"{name}.") for field in added)


def _explain(plan: Plan, place: Placed, rank: int, score: str, base: str) -> str:
    how = (
        "not read by the model: behind the window"
        if place.model_score is None
        else (
            f"model [{plan.policy.model}] on [{', '.join(plan.policy.fields) or '_source'}]: "
            f"{place.model_score:.7g}, "
            f"score_mode [{plan.policy.score_mode}]"
        )
    )
    description = json.dumps(f"rank after reranking: [{rank}] with score: [{score}], {how}")
    return f'{{"value":{score},"description":{description},"details":[{base}]}}'


def _write_answer(
    first_stage: FirstStage, hits: Sequence[str], max_score: str | None, note: Note | None
) -> str:
    text, whole = first_stage.text, first_stage.whole
    array = join_array(text, first_stage.start, first_stage.end, first_stage.hits, hits)
    edits: list[Edit] = [(first_stage.start, first_stage.end, array)]
    if max_score is not None and first_stage.max_score is not None:
        edits.append((first_stage.max_score.start, first_stage.max_score.end, max_score))
    if note is not None:
        edits.append(_edit_ext(text, whole.value, json.dumps(note)))
    return apply_edits(text, 0, len(text), edits)


def _edit_ext(text: str, answer: Mapping[str, Any], note: str) -> Edit:
    """Put the note into the answer's ``ext``, beside what the cluster has there."""
    ext = answer.get("ext")
    if ext is None or not isinstance(ext.value, dict):
        return put_entry(text, list(answer.values()), f'"ext":{{"rerank":{note}}}')
    entries = scan_object(text, ext.start)[0]
    if not entries:
        return ext.start, ext.end, f'{{"rerank":{note}}}'
    return put_entry(text, list(entries.values()), f'"rerank":{note}')
