"""Knows the pages' paths, and what a browser is told beside the HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, redirect, render_template, request, send_from_directory, url_for
from redis import RedisError
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response as AnyResponse

from gateway.errors import GatewayError, find_status
from gateway.jobs.api import JobsApi, WrongState, tell_status
from gateway.pages.compare import SIZES, Choices, ComparedHit, Comparer, Comparison, Unanswered
from gateway.pages.jobs import STATES, find_job, find_jobs
from gateway.pages.overview import find_names, look
from gateway.pages.reasons import REASONS
from gateway.policies import PolicyFile
from gateway.scoring import Scorer
from gateway.tools import SearchTools
from gateway.wire import Header, read_request
from search_plugin import Reason, find_policy

_STATIC = Path(__file__).parent / "static"
_A_YEAR_S = 365 * 24 * 3600

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer of the pages."""

STAGES = ("cluster", "queue", "model", "merge")
"""The stages that are shown, in the order in which a search goes through them."""


@dataclass(frozen=True)
class Pages:
    """The pages.

    Attributes:
        find_credentials: which Authorization among a request's headers is for the cluster; empty for none.
        flower_url: where Flower is; None where there is none.
        jobs: the bulk jobs; None where there are none.
    """

    tools: SearchTools
    file: PolicyFile
    scorer: Scorer
    find_credentials: Callable[[Headers], str]
    flower_url: str | None = None
    jobs: JobsApi | None = None

    def show_overview(self) -> Response:
        """Cluster, policies, models and counts."""
        seen = look(self.tools.cluster, self.scorer, self.file, self._read_credentials())
        return _render("overview.html", seen=seen, flower_url=self.flower_url)

    def show_compare(self) -> Response:
        """The form, and both orders where something is asked."""
        credentials = self._read_credentials()
        policies = self.file.current().policies
        names = find_names(self.tools.cluster, policies, credentials) or ()
        covered = (name for name in names if find_policy((name,), policies))
        usual = Choices(index=next(covered, ""))
        choices = Choices.read(request.args) if request.args else usual
        comparer = Comparer(self.tools)
        told: dict[str, Any] = {"choices": choices, "names": names, "policies": policies}
        status, challenge = 200, ""
        if choices:
            try:
                told["sent"] = comparer.write(choices)
                told["found"] = comparer.compare(choices, credentials, read_request(request.environ).client)
            except Unanswered as error:
                told["error"], status, challenge = error, error.status, error.challenge
            except GatewayError as error:
                told["error"], status = error, find_status(error)[0]
        response = _render("compare.html", sizes=SIZES, link=_write_link(choices), **told)
        response.status_code = status
        if challenge and (
            credentials or "Authorization" not in request.headers
        ):  # else it is for a key of ours
            response.headers["WWW-Authenticate"] = challenge
        if choices:
            response.headers["HX-Push-Url"] = _write_link(choices)
        return response

    def show_reasons(self) -> Response:
        """What each reason means."""
        return _render("reasons.html")

    def show_jobs(self) -> Response:
        """All jobs."""
        return _render("jobs.html", jobs=find_jobs(self._expect_jobs()))

    def show_job(self, job_id: str, error: str = "") -> Response:
        """One of them, with what it can be told."""
        try:
            one, failures = find_job(self._expect_jobs(), job_id)
        except (GatewayError, RedisError) as trouble:
            return _refuse(trouble)
        return _render("job.html", one=one, failures=failures, error=error)

    def act(self, job_id: str, action: str) -> AnyResponse:
        """Tell a job something, and show it again."""
        jobs = self._expect_jobs()
        try:
            if action == "delete":
                jobs.delete(job_id)
                return redirect(url_for("pages.jobs"), 303)
            jobs.act(job_id, action, self.find_credentials(request.headers))
        except WrongState as error:
            return self.show_job(job_id, str(error))
        except (GatewayError, RedisError) as trouble:
            return _refuse(trouble)
        return redirect(url_for("pages.job", job_id=job_id), 303)

    def _expect_jobs(self) -> JobsApi:
        if self.jobs is None:
            abort(404, "this gateway has no --jobs-folder")
        return self.jobs

    def _read_credentials(self) -> Sequence[Header]:
        found = self.find_credentials(request.headers)
        return [(b"Authorization", found.encode("latin-1"))] if found else []


def make_pages(pages: Pages) -> Blueprint:
    """The paths of all pages, to stand under ``/_rerank``."""
    blueprint = Blueprint("pages", __name__, template_folder="templates")
    version = _read_version()
    blueprint.add_url_rule("/", "start", _go_to_pages, strict_slashes=False)
    blueprint.add_url_rule("/ui/", "overview", pages.show_overview)
    blueprint.add_url_rule("/ui/compare", "compare", pages.show_compare)
    blueprint.add_url_rule("/ui/reasons", "reasons", pages.show_reasons)
    blueprint.add_url_rule("/ui/jobs", "jobs", pages.show_jobs)
    blueprint.add_url_rule("/ui/jobs/<job_id>", "job", pages.show_job)
    blueprint.add_url_rule(
        "/ui/jobs/<job_id>/<any(pause, resume, cancel, retry, delete):action>",
        "act",
        pages.act,
        methods=["POST"],
    )

    @blueprint.get("/ui/static/<given>/<path:name>")
    def static_file(given: str, name: str) -> Response:
        """For good under its version; under another, as gateways are exchanged, for now."""
        return send_from_directory(_STATIC, name, max_age=_A_YEAR_S if given == version else 0)

    @blueprint.context_processor
    def share() -> dict[str, Any]:
        return {
            "static_version": version,
            "has_jobs": pages.jobs is not None,
            "states": STATES,
            "reasons": REASONS,
            "explain": explain,
            "stages": STAGES,
            "draw_moves": draw_moves,
        }

    @blueprint.after_request
    def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")  # hits are other people's texts
        return response

    return blueprint


def explain(reason: str) -> str:
    """A reason in plain words."""
    return REASONS[Reason(reason)].what if reason in set(Reason) else reason


def draw_moves(found: Comparison, row_px: int) -> list[tuple[ComparedHit, str, str]]:
    """A line for each hit on either side: its kind and, as an SVG path, its way, 100 wide.

    A hit that stands on one side only has a short line that points down, to where the others are.
    """
    lines = []
    for hit in found.shown:
        kind = "up" if hit.gained > 0 else "down" if hit.gained < 0 or hit.rank_after is None else "same"
        before = (hit.rank_before - 0.5) * row_px
        after = ((hit.rank_after or 0) - 0.5) * row_px
        if hit not in found.after:
            way = f"M0 {before}C8 {before} 14 {before + 4} 18 {before + 14}"
        elif hit not in found.before:
            way = f"M82 {after + 14}C86 {after + 4} 92 {after} 100 {after}"
        else:
            way = f"M0 {before}C50 {before} 50 {after} 100 {after}"
        lines.append((hit, kind, way))
    return lines


def _go_to_pages() -> AnyResponse:
    if not request.accept_mimetypes.accept_html:
        abort(404)
    return redirect("/_rerank/ui/", 302)


def _render(template: str, **told: Any) -> Response:
    page = render_template(template, **told)
    # what is no UTF-8 in a hit stands in its texts as surrogates
    return Response(page.encode("utf-8", "replace"), content_type="text/html; charset=utf-8")


def _refuse(trouble: Exception) -> Response:
    response = _render("refused.html", error=str(trouble))
    response.status_code = tell_status(trouble)
    return response


def _write_link(choices: Choices) -> str:
    """The shortest address that shows the same."""
    said = {name: value for name, value in vars(choices).items() if value and value != Choices().size}
    return f"/_rerank/ui/compare?{urlencode(said)}"


def _read_version() -> str:
    digest = sha256()
    for file in sorted(_STATIC.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
