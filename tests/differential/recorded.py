"""Requests over all families of APIs, told as stories: the requests of one build on each other.

``{index}`` is an index of the story's own, ``books`` one that all read. An API that an engine does not have
is as good a case as one that it has: the refusal must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

from tests.differential.wire import JSON, Request, ask, zipped

MATCH = {"query": {"match": {"title": "river"}}}
BOTH = {"query": {"multi_match": {"query": "a river in winter", "fields": ["title", "body"]}}}

# bodies that are not JSON, as any library writes them
MATCH_YAML = b"---\nquery:\n  match:\n    title: river\nsize: 3\n"
MATCH_CBOR = bytes.fromhex("a2657175657279a1656d61746368a1657469746c65657269766572") + b"dsize\x03"
MATCH_SMILE = b":)\n\x01\xfa\x84query\xfa\x84match\xfa\x84title\x44river\xfb\xfb\x83size\xc6\xfb"
DOCUMENT_CBOR = bytes.fromhex("a1657469746c65657269766572")
DOCUMENT_SMILE = b":)\n\x01\xfa\x84title\x44river\xfb"

ES9, ES8, ES7 = (f"application/vnd.elasticsearch+json; compatible-with={version}" for version in (9, 8, 7))
ES9_LINES = "application/vnd.elasticsearch+x-ndjson; compatible-with=9"

# as they stand in a path
IDS = (
    "a%2Fb", "a%2fb", "%C3%BC%E2%82%AC", "100%25", "a+b", "a%2Bb", "a%20b", "a;b", "a%3Bb", "a:b", "a,b",
    "a%3Fb", "a%23b", "~x!$&'()*=@", "%E0%A4%A",
)  # fmt: skip

# {"query":{"match":{"title":"river"}}}
SOURCE = "source=%7B%22query%22%3A%7B%22match%22%3A%7B%22title%22%3A%22river%22%7D%7D%7D"
JSON_SOURCE = f"source_content_type=application%2Fjson&{SOURCE}"

moment = partial(ask, has_numbers_of_the_moment=True)
"""A request whose answer shows sizes, times or counters."""


def each(lines: Iterable[str], **more: object) -> tuple[Request, ...]:
    return tuple(ask(line, **more) for line in lines)


def lines(*actions: object) -> list[object]:
    return list(actions)


DOCUMENTS: dict[str, tuple[Request, ...]] = {
    "a document's life": (
        ask("PUT /{index}/_doc/1", {"title": "river", "n": 1}),
        ask("GET /{index}/_doc/1"),
        ask("HEAD /{index}/_doc/1"),
        ask("GET /{index}/_doc/1?pretty"),
        ask("GET /{index}/_doc/1?_source=title"),
        ask("GET /{index}/_doc/1?_source_includes=t*&_source_excludes=n"),
        ask("GET /{index}/_doc/1?_source=false&stored_fields=title"),
        ask("GET /{index}/_source/1"),
        ask("HEAD /{index}/_source/1"),
        ask("POST /{index}/_update/1", {"doc": {"n": 2}}),
        ask("POST /{index}/_update/1", {"doc": {"n": 2}, "detect_noop": True}),
        ask("POST /{index}/_update/2", {"doc": {"n": 5}, "doc_as_upsert": True}),
        ask("POST /{index}/_update/9", {"doc": {"n": 5}}),
        ask("PUT /{index}/_create/1", {"title": "again"}),
        ask("PUT /{index}/_doc/1?if_seq_no=99&if_primary_term=1", {"title": "again"}),
        ask("PUT /{index}/_doc/1?version=3&version_type=external", {"title": "again"}),
        ask("PUT /{index}/_doc/1?op_type=create", {"title": "again"}),
        ask("DELETE /{index}/_doc/1"),
        ask("GET /{index}/_doc/1"),
        ask("HEAD /{index}/_doc/1"),
        ask("DELETE /{index}/_doc/1?refresh=true"),
        ask("GET /{index}/_doc/missing"),
        ask("GET /{index}-missing/_doc/1"),
    ),
    "an id that the engine chooses": (
        ask("POST /{index}/_doc", {"n": 1}),
        ask("POST /{index}/_doc?refresh=true", {"n": 2}),
    ),
    "ids with all that a path can hold": (
        *(ask(f"PUT /{{index}}/_doc/{id}", {"id": id}) for id in IDS),
        *(ask(f"GET /{{index}}/_doc/{id}") for id in IDS),
        ask("POST /{index}/_refresh"),
        ask("GET /{index}/_search?sort=id.keyword"),
    ),
    "paths that a library would tidy up": each(
        (
            "GET //books//_count",
            "GET /books/_count/",
            "GET /books/_count//",
            "GET /books/./_count",
            "GET /books/../_count",
            "GET /books;x=1/_count",
            "GET /%62ooks/_count",
            "GET /books/%5Fcount",
            "GET /books%2Cbooks-too/_count",
            "GET /books,books-too/_count",
            "GET /books*/_count",
            "GET /%3Cbooks-%7Bnow%2Fd%7D%3E/_count",
            "GET /<books-{now/d}>/_count",
            "GET /books/_count?",
            "GET /books/_count?&&",
            "GET /books/_count?q=tag:novel&q=tag:poetry",
            "GET /books/_count?q=",
            "GET /books/_count?q",
            "GET /books/_count?q=title%3Ariver+AND+tag%3Anovel",
            "GET /books/_count?q=title:river;df=title",
            "GET /books/_count?q=tag%3anovel#fragment",
            "GET /books/_count?unknown=1",
            "GET /_all/_count",
            "GET /*/_count?ignore_unavailable=true",
            "GET /-books/_count",
            "GET /.books/_count",
        )
    ),
    "index names from date math": (
        ask("PUT /%3C%7Bindex%7D-%7Bnow%2Fd%7D%3E/_doc/1", {"n": 1}),
        ask("PUT /%3C{index}-%7Bnow%2Fd%7D%3E/_doc/1?refresh=true", {"n": 1}),
        ask("GET /%3C{index}-%7Bnow%2Fd%7D%3E/_doc/1"),
        ask("GET /%3C{index}-%7Bnow%2Fd%7ByyyyMMdd%7CUTC%7D%7D%3E/_doc/1"),
        ask("GET /%3C{index}-%7Bnow%2Fd%7D%3E/_search"),
    ),
    "bulk": (
        ask(
            "POST /_bulk?refresh=true",
            lines(
                {"index": {"_index": "{index}", "_id": "1"}},
                {"n": 1},
                {"create": {"_index": "{index}", "_id": "1"}},
                {"n": 2},
                {"update": {"_index": "{index}", "_id": "1"}},
                {"doc": {"n": 3}},
                {"delete": {"_index": "{index}", "_id": "7"}},
            ),
        ),
        ask(
            "PUT /{index}/_bulk",
            lines({"index": {"_id": "w"}}, {"n": "é"}, {"index": {"_id": "x"}}, {"n": {"not": "a number"}}),
        ),
        zipped(
            ask(
                "POST /{index}/_bulk",
                lines({"index": {"_id": "2"}}, {"n": 1}, {"index": {"_id": "3"}}, {"n": 2}),
            )
        ),
        ask(
            "POST /{index}/_bulk?pretty&filter_path=items.*.status,errors",
            lines({"index": {"_id": "2"}}, {"n": 1}),
        ),
        ask(
            "POST /{index}/_bulk", b'{"index":{"_id":"4"}}\n{"n":1}', {"Content-Type": "application/x-ndjson"}
        ),
        ask("POST /{index}/_bulk", b'{"index":{"_id":"4"}}\r\n{"n":1}\r\n', {"Content-Type": JSON}),
        ask("POST /{index}/_bulk", b"\n", {"Content-Type": JSON}),
        ask("POST /{index}/_bulk"),
        ask("POST /{index}/_bulk", b'{"unknown":{"_id":"4"}}\n{"n":1}\n', {"Content-Type": JSON}),
        ask("POST /{index}/_bulk", b'{"index":{"_id":"5"}}\n{"n":1}\n', {"Content-Type": "text/plain"}),
        ask(
            "POST /{index}/_bulk",
            lines({"index": {"_id": "5"}}, {"n": 5}),
            {"Content-Type": ES9_LINES, "Accept": ES9},
        ),
        ask(
            "POST /{index}/_bulk?timeout=1s&wait_for_active_shards=1&require_alias=true",
            lines({"index": {"_id": "5"}}, {"n": 5}),
        ),
        ask("POST /{index}/_refresh"),  # else what is counted depends on when the engine does it by itself
        ask("GET /{index}/_count"),
    ),
    "many documents at once": (
        ask("POST /books/_mget", {"ids": ["b01", "b02", "none"]}),
        ask(
            "GET /_mget",
            {
                "docs": [
                    {"_index": "books", "_id": "b01", "_source": ["title"]},
                    {"_index": "none", "_id": "1"},
                ]
            },
        ),
        ask("GET /books/_mget?_source=false", {"ids": ["b01"]}),
        ask("POST /books/_mget", {"ids": []}),
        ask("POST /books/_mget", {"unknown": 1}),
        ask("POST /books/_mget"),
    ),
    "documents moved by the cluster": (
        ask(
            "POST /_reindex?refresh=true",
            {"source": {"index": "books", "query": {"term": {"tag": "novel"}}}, "dest": {"index": "{index}"}},
        ),
        ask("POST /{index}/_update_by_query?refresh=true&conflicts=proceed", {"query": {"match_all": {}}}),
        ask("POST /{index}/_delete_by_query?refresh=true", {"query": {"range": {"pages": {"gt": 200}}}}),
        ask("POST /{index}/_delete_by_query?q=tag:none"),
        ask("GET /{index}/_count"),
        ask("POST /_reindex", {"source": {"index": "none"}, "dest": {"index": "{index}"}}),
        ask("POST /_reindex", {"source": {}}),
    ),
    "numbers that a JSON library would change": (
        ask(
            "PUT /{index}/_doc/1?refresh=true",
            b'{"a":1.0E-5,"b":123456789012345678901234567890.10,"c":0.10,"d":-0,"e":1e2,"e":2,"f":"\\u00fc\xc3\xbc\\/","g":12345678901234567}',
            {"Content-Type": JSON},
        ),
        ask("GET /{index}/_doc/1"),
        ask("GET /{index}/_source/1"),
        ask("GET /{index}/_search?q=f:*"),
        ask("GET /{index}/_search?pretty&q=f:*"),
    ),
    "term vectors": (
        ask("GET /books/_termvectors/b01?fields=title"),
        ask("POST /books/_termvectors", {"doc": {"title": "river river"}, "fields": ["title"]}),
        ask("POST /books/_mtermvectors", {"ids": ["b01", "b02"], "parameters": {"fields": ["title"]}}),
        ask("GET /books/_termvectors/none"),
    ),
}

INDICES: dict[str, tuple[Request, ...]] = {
    "an index's life": (
        ask(
            "PUT /{index}",
            {"settings": {"number_of_replicas": 0}, "mappings": {"properties": {"t": {"type": "text"}}}},
        ),
        ask("PUT /{index}"),
        ask("HEAD /{index}"),
        ask("HEAD /{index}-none"),
        ask("GET /{index}"),
        ask("GET /{index}?pretty&human"),
        ask("GET /{index}/_mapping"),
        ask("PUT /{index}/_mapping", {"properties": {"k": {"type": "keyword"}}}),
        ask("PUT /{index}/_mapping", {"properties": {"t": {"type": "long"}}}),
        ask("GET /{index}/_mapping/field/*"),
        ask("GET /{index}/_settings"),
        ask("GET /{index}/_settings?flat_settings=true&include_defaults=false"),
        ask("PUT /{index}/_settings", {"index": {"refresh_interval": "5s"}}),
        ask("PUT /{index}/_settings", {"index": {"number_of_shards": 7}}),
        ask("PUT /{index}/_settings", {"index": {"unknown": 7}}),
        ask("POST /{index}/_refresh"),
        ask("POST /{index}/_flush"),
        ask("POST /{index}/_forcemerge?max_num_segments=1"),
        ask("POST /{index}/_cache/clear"),
        moment("GET /{index}/_stats/docs,store"),
        moment("GET /{index}/_segments"),
        moment("GET /{index}/_recovery"),
        ask("POST /{index}/_close"),
        ask("GET /{index}/_search", MATCH),
        ask("POST /{index}/_open"),
        ask("DELETE /{index}"),
        ask("DELETE /{index}"),
        ask("GET /{index}/_search"),
        ask("PUT /{index}", b'{"settings":', {"Content-Type": JSON}),
        ask("PUT /{index}", {"settings": {"number_of_shards": "many"}}),
        ask("PUT /UPPER"),
        ask("PUT /_under"),
        ask("PATCH /{index}"),
        ask("POST /{index}"),
    ),
    "aliases": (
        ask("PUT /{index}"),
        ask("PUT /{index}/_alias/{index}-alias"),
        ask("GET /{index}/_alias"),
        ask("GET /_alias/{index}-alias"),
        ask("HEAD /_alias/{index}-alias"),
        ask("HEAD /_alias/{index}-none"),
        ask(
            "POST /_aliases",
            {
                "actions": [
                    {"add": {"index": "{index}", "alias": "{index}-filtered", "filter": {"term": {"n": 1}}}},
                    {"remove": {"index": "{index}", "alias": "{index}-alias"}},
                ]
            },
        ),
        ask("GET /{index}-filtered/_search", BOTH),
        ask("GET /_cat/aliases/{index}*?v"),
        ask("DELETE /{index}/_alias/{index}-filtered"),
        ask("DELETE /{index}/_alias/{index}-filtered"),
        ask("POST /_aliases", {"actions": []}),
        ask("GET /_resolve/index/{index}*"),
    ),
    "templates": (
        ask(
            "PUT /_index_template/{index}",
            {
                "index_patterns": ["{index}-*"],
                "priority": 500,
                "template": {"settings": {"number_of_replicas": 0}},
            },
        ),
        ask("GET /_index_template/{index}"),
        ask("HEAD /_index_template/{index}"),
        ask("POST /_index_template/_simulate_index/{index}-x"),
        ask(
            "PUT /_component_template/{index}",
            {"template": {"mappings": {"properties": {"n": {"type": "long"}}}}},
        ),
        ask("GET /_component_template/{index}"),
        ask("DELETE /_index_template/{index}"),
        ask("DELETE /_component_template/{index}"),
        ask("DELETE /_component_template/{index}"),
        ask(
            "PUT /_template/{index}", {"index_patterns": ["{index}-*"], "settings": {"number_of_replicas": 0}}
        ),
        ask("GET /_template/{index}"),
        ask("HEAD /_template/{index}"),
        ask("DELETE /_template/{index}"),
        ask("GET /_template/{index}"),
    ),
    "rollover, shrink and clone": (
        ask("PUT /{index}-000001", {"aliases": {"{index}-write": {"is_write_index": True}}}),
        ask("POST /{index}-write/_rollover?dry_run=true", {"conditions": {"max_docs": 1}}),
        ask("POST /{index}-write/_rollover"),
        ask("PUT /{index}-000001/_settings", {"index.blocks.write": True}),
        ask("PUT /{index}-000001/_clone/{index}-clone"),
        ask("PUT /{index}-000001/_block/read"),
        ask("PUT /{index}-000001/_shrink/{index}-small"),
    ),
    "analysis": (
        ask("GET /_analyze", {"analyzer": "standard", "text": "Über den Fluß"}),
        ask("POST /books/_analyze", {"field": "title", "text": ["one", "two"]}),
        ask(
            "GET /_analyze?pretty",
            {"tokenizer": "whitespace", "filter": ["lowercase"], "text": "A B", "explain": True},
        ),
        ask("GET /_analyze", {"analyzer": "none", "text": "x"}),
        ask("POST /_analyze"),
    ),
    "fields and validation": (
        ask("GET /books/_field_caps?fields=t*"),
        ask("POST /books*/_field_caps?fields=*", {"index_filter": {"range": {"pages": {"gt": 10}}}}),
        ask("GET /books/_field_caps"),
        ask("GET /books/_validate/query?explain=true", MATCH),
        ask("GET /books/_validate/query?q=title:river&rewrite=true"),
        ask("POST /books/_validate/query", {"query": {"none": {}}}),
        ask("GET /books/_explain/b01", MATCH),
        ask("POST /books/_explain/b01?_source=title", BOTH),
        ask("GET /books/_explain/b01?q=title:garden"),
        ask("GET /books/_explain/none", MATCH),
        ask("GET /books/_search_shards"),
        ask("POST /books/_count", MATCH),
        ask("GET /books/_count", MATCH),
        ask("GET /books/_count?q=title:river&analyzer=none"),
        ask("GET /books/_count", {"query": {"match": {"title": "river"}}, "size": 1}),
        ask(
            "POST /books/_rank_eval",
            {
                "requests": [
                    {"id": "r", "request": MATCH, "ratings": [{"_index": "books", "_id": "b01", "rating": 1}]}
                ],
                "metric": {"precision": {"k": 5}},
            },
        ),
        ask("GET /books/_eql/search", {"query": "any where true"}),
        ask("POST /_sql", {"query": "select 1"}),
        ask("POST /_query", {"query": "row a = 1"}),
        ask("POST /books/_terms_enum", {"field": "tag", "string": "n"}),
        moment("POST /books/_disk_usage?run_expensive_tasks=true"),
    ),
}

CLUSTER: dict[str, tuple[Request, ...]] = {
    "the cluster": (
        ask("GET /"),
        ask("GET /?pretty"),
        ask("HEAD /"),
        ask("GET /?filter_path=version.number"),
        moment("GET /_cluster/health"),
        moment("GET /_cluster/health/books?level=shards&wait_for_status=green&timeout=5s"),
        ask("GET /_cluster/health/books?wait_for_nodes=7&timeout=10ms", has_numbers_of_the_moment=True),
        moment("GET /_cluster/state/metadata,routing_table/books"),
        moment("GET /_cluster/stats"),
        ask("PUT /_cluster/settings", {"transient": {"cluster.max_shards_per_node": 2000}}),
        ask("GET /_cluster/settings?include_defaults=false&flat_settings=true"),
        ask("PUT /_cluster/settings", {"persistent": {"unknown.setting": 1}}),
        ask("POST /_cluster/reroute?dry_run=true&metric=none"),
        moment("GET /_cluster/allocation/explain", {"index": "books", "shard": 0, "primary": True}),
        ask("GET /_remote/info"),
        ask("GET /_cluster/unknown"),
    ),
    "nodes": (
        ask("GET /_nodes/_all/http"),
        ask("GET /_nodes/http?filter_path=nodes.*.http.publish_address"),
        moment("GET /_nodes/plugins,settings,process"),
        moment("GET /_nodes/stats/indices"),
        ask("GET /_nodes/none"),
        ask("POST /_nodes/reload_secure_settings"),
    ),
    "tasks": (
        ask("GET /_tasks/none:1"),
        ask("GET /_tasks/bad"),
        ask("POST /_tasks/none:1/_cancel"),
        ask("GET /_tasks?actions=none*&group_by=none", headers={"X-Opaque-Id": "mine"}),
    ),
    "cat": each(
        (
            "GET /_cat",
            "GET /_cat/count/books?h=count&v",
            "GET /_cat/count/books?format=json&h=count",
            "GET /_cat/count/books?format=yaml&h=count",
            "GET /_cat/count/books?format=cbor&h=count",
            "GET /_cat/count/books?format=smile&h=count",
            "GET /_cat/count/books?h=count&format=json&pretty",
            "GET /_cat/indices/books*?h=index,docs.count,pri&s=index:desc&v=true",
            "GET /_cat/indices/none",
            "GET /_cat/shards/books?h=index,shard,prirep,state,docs",
            "GET /_cat/nodes?h=name,node.role,master",
            "GET /_cat/nodes?help",
            "GET /_cat/aliases/none*?v",
            "GET /_cat/templates/none*?v",
            "GET /_cat/plugins?v",
            "GET /_cat/nodeattrs",
            "GET /_cat/repositories",
            "GET /_cat/thread_pool/search?h=name,type",
            "GET /_cat/pending_tasks",
            "GET /_cat/master?h=node",
            "GET /_cat/unknown",
            "GET /_cat/count/books?h=count&format=unknown",
        )
    )
    + tuple(
        ask("GET /_cat/count/books?h=count&v", headers={"Accept": accept})
        for accept in (
            "text/plain",
            JSON,
            "application/yaml",
            "application/cbor",
            "application/smile",
            "text/html",
            "*/*",
            ES9,
            "text/plain;q=0.5,application/json",
        )
    )
    + tuple(
        moment(f"GET /_cat/{table}?v")
        for table in ("health", "allocation", "fielddata", "recovery/books", "segments/books")
    ),
    "ingest and scripts": (
        ask("PUT /_ingest/pipeline/{index}", {"processors": [{"set": {"field": "a", "value": 1}}]}),
        ask("GET /_ingest/pipeline/{index}"),
        ask("POST /_ingest/pipeline/{index}/_simulate", {"docs": [{"_source": {"b": 2}}]}),
        ask("PUT /{index}/_doc/1?pipeline={index}", {"b": 2}),
        ask("GET /{index}/_doc/1"),
        ask("DELETE /_ingest/pipeline/{index}"),
        ask("GET /_ingest/processor/grok"),
        ask(
            "PUT /_scripts/{index}",
            {"script": {"lang": "mustache", "source": {"query": {"match": {"title": "{{text}}"}}}}},
        ),
        ask("GET /_scripts/{index}"),
        ask("GET /_script_context"),
        ask("GET /_script_language"),
        ask("DELETE /_scripts/{index}"),
        ask("GET /_scripts/{index}"),
        ask("POST /_scripts/painless/_execute", {"script": {"source": "1 + 1"}}),
    ),
    "snapshots": (
        ask("GET /_snapshot"),
        ask("PUT /_snapshot/{index}", {"type": "fs", "settings": {"location": "/not/allowed"}}),
        ask("GET /_snapshot/none"),
        ask("GET /_snapshot/none/_all"),
        ask("DELETE /_snapshot/none"),
    ),
}

SEARCHES: dict[str, tuple[Request, ...]] = {
    "search": (
        ask("GET /books/_search", MATCH),
        ask("POST /books/_search", MATCH),
        ask("POST /books/_search?pretty", MATCH),
        ask("POST /books/_search?pretty=false&human=true", MATCH),
        ask("POST /books/_search?error_trace=false", MATCH),
        ask("POST /books,books-too/_search", BOTH),
        ask("POST /books%2Cbooks-too/_search", BOTH),
        ask("POST /books*/_search", BOTH),
        ask("POST /_all/_search?size=3", BOTH),
        ask("POST /books/_search/", BOTH),
        ask("POST //books/_search", BOTH),
        ask("POST /%62ooks/_search", BOTH),
        ask("POST /books/_search?size=3&size=2", BOTH),
        ask("POST /books/_search?&size=3&&", BOTH),
        ask("POST /books/_search?size=", BOTH),
        ask("POST /books/_search?size=-1", BOTH),
        ask("POST /books/_search?size=many", BOTH),
        ask("POST /books/_search?size=10001", BOTH),
        ask("POST /books/_search?from=-1", BOTH),
        ask("POST /books/_search?unknown=1", BOTH),
        ask("POST /books/_search?size=3;from=1", BOTH),
        ask("GET /books/_search?q=title:river+garden&df=body&default_operator=OR"),
        ask("GET /books/_search?q=river"),
        ask("GET /books/_search?q="),
        ask("GET /books/_search?q=title:(river"),
        ask("GET /books/_search?q=%2Btitle:river+-tag:novel&analyze_wildcard=true&lenient=true"),
        ask("GET /books/_search?q=river#garden"),
        ask("GET /books/_search"),
        ask("POST /books/_search"),
        ask("POST /books/_search", {}),
        ask("HEAD /books/_search"),
        ask("PUT /books/_search", MATCH),
        ask("DELETE /books/_search"),
        ask("OPTIONS /books/_search"),
        ask("POST /none/_search", MATCH),
        ask("POST /none/_search?ignore_unavailable=true", MATCH),
        ask("POST /none*/_search?allow_no_indices=false", MATCH),
        ask(
            "POST /books/_search?preference=_local&routing=x&request_cache=true&batched_reduce_size=2", MATCH
        ),
        ask("POST /books/_search?search_type=dfs_query_then_fetch", MATCH),
        ask("POST /books/_search?search_type=unknown", MATCH),
        ask("POST /books/_search?timeout=10s&terminate_after=5", MATCH),
        ask("POST /books/_search?ccs_minimize_roundtrips=true&max_concurrent_shard_requests=2", MATCH),
    ),
    "search pages": tuple(
        ask("POST /books/_search", {**BOTH, "from": start, "size": size})
        for start, size in (
            (0, 1),
            (0, 5),
            (5, 5),
            (0, 20),
            (10, 10),
            (15, 10),
            (19, 2),
            (20, 10),
            (50, 20),
            (59, 1),
            (60, 5),
            (0, 60),
            (0, 0),
            (0, 100),
            (9_990, 20),
            (20_000, 1),
        )
    ),
    "search answers in part": tuple(
        ask(f"POST /books/_search?filter_path={path}", MATCH)
        for path in (
            "hits.hits",
            "hits.hits._id",
            "hits.hits._source.title",
            "took",
            "-hits.hits._source",
            "hits.total,hits.max_score",
            "**._id",
            "none",
            "hits.hits._score,hits.hits._id",
            "",
        )
    ),
    "search answers in other forms": tuple(
        ask(f"POST /books/_search?{parameter}", MATCH)
        for parameter in (
            "format=yaml",
            "format=json",
            "format=cbor",
            "format=smile",
            "format=unknown",
            "rest_total_hits_as_int=true",
            "typed_keys=true",
            "track_total_hits=false",
            "track_total_hits=3",
            "version=true&seq_no_primary_term=true",
            "explain=true&size=2",
            "_source=false",
            "_source=title,tag",
            "_source_includes=t*",
            "_source_excludes=body",
            "stored_fields=pages",
            "stored_fields=_none_",
            "docvalue_fields=pages,tag",
            "sort=pages",
            "sort=_score",
            "sort=_score:asc",
            "sort=pages:desc,_score",
            "track_scores=true&sort=pages",
            "suggest_field=title&suggest_text=rivr",
            "rest_total_hits_as_int=true&track_total_hits=false",
            "rest_total_hits_as_int=yes",
        )
    ),
    "searches in other codings": (
        ask("POST /books/_search", MATCH_YAML, {"Content-Type": "application/yaml"}),
        ask("POST /books/_search", MATCH_CBOR, {"Content-Type": "application/cbor"}),
        ask("POST /books/_search", MATCH_SMILE, {"Content-Type": "application/smile"}),
        *(
            ask("POST /books/_search", MATCH, {"Accept": accept})
            for accept in (
                "application/yaml",
                "application/cbor",
                "application/smile",
                "text/plain",
                "text/html",
                "*/*",
                "application/json, text/plain",
                "application/*",
                "application/xml",
                "",
                "application/json;charset=utf-8",
                "application/json;q=0.1,application/yaml",
            )
        ),
        *(
            ask("POST /books/_search", json.dumps(MATCH).encode(), {"Content-Type": kind})
            for kind in (
                "application/json; charset=utf-8",
                "application/json;charset=iso-8859-1",
                "Application/JSON",
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/x-ndjson",
                "application/xml",
                "json",
                "",
            )
        ),
        ask("POST /books/_search", json.dumps(MATCH).encode()),
        ask("PUT /{index}/_doc/1", DOCUMENT_CBOR, {"Content-Type": "application/cbor"}),
        ask("PUT /{index}/_doc/2", DOCUMENT_SMILE, {"Content-Type": "application/smile"}),
        ask("GET /{index}/_doc/1"),
        ask("GET /{index}/_doc/2", headers={"Accept": "application/yaml"}),
        zipped(ask("POST /books/_search", MATCH)),
        zipped(ask("POST /books/_search", MATCH, {"Accept-Encoding": "gzip"})),
        ask("POST /books/_search", MATCH, {"Accept-Encoding": "gzip, deflate, br"}),
        ask("POST /books/_search", MATCH, {"Accept-Encoding": "identity"}),
        ask("POST /books/_search", MATCH, {"Accept-Encoding": "gzip;q=0, identity"}),
        ask("POST /books/_search", b"not gzip", {"Content-Type": JSON, "Content-Encoding": "gzip"}),
        ask(
            "POST /books/_search",
            json.dumps(MATCH).encode(),
            {"Content-Type": JSON, "Content-Encoding": "unknown"},
        ),
    ),
    "media types of versions": tuple(
        ask(f"POST /books/_{api}", MATCH, {"Content-Type": sent, "Accept": wanted})
        for api in ("search", "count")
        for sent, wanted in (
            (ES9, ES9),
            (ES8, ES8),
            (ES7, ES7),
            (ES9, JSON),
            (JSON, ES9),
            (ES9, ES8),
            (ES9, "*/*"),
        )
    ),
    "bodies in the URL": (
        ask(f"GET /books/_search?{JSON_SOURCE}"),
        ask(f"GET /books/_search?{SOURCE}"),
        ask(f"GET /books/_count?{JSON_SOURCE}"),
        ask(f"POST /books/_search?{JSON_SOURCE}&size=2"),
        ask(f"POST /books/_search?{JSON_SOURCE}", {"query": {"match_all": {}}}),
        ask(f"POST /books/_search/template?{JSON_SOURCE}"),
        ask(f"POST /books/_msearch?{JSON_SOURCE}"),
    ),
    "malformed searches": tuple(
        ask("POST /books/_search", body, {"Content-Type": JSON})
        for body in (
            b"{",
            b"[]",
            b"null",
            b'""',
            b"1",
            b" ",
            b'{"query":{}}',
            b'{"query":{"match":{"title":"river"}}} trailing',
            b'{"query":{"match":{"title":"river"}},"size":"3"}',
            b'{"query":{"match":{"title":"river"}},"size":3.0}',
            b'{"query":{"match":{"title":"river"}},"size":1e1}',
            b'{"query":{"match":{"title":"river"}},"size":null}',
            b'{"query":{"match":{"title":"river"}},"size":true}',
            b'{"query":{"match":{"title":"river"}},"from":"1"}',
            b'{"query":{"match":{"title":"river"}},"unknown":1}',
            b'{"query":{"match":{"title":"river"}},"query":{"match":{"title":"garden"}}}',
            b'{"query":{"match":{"title":"river","body":"x"}}}',
            b'{"query":{"match":{"title":{"query":"river","unknown":1}}}}',
            b'{"query":{"unknown":{}}}',
            b"{'query':{'match':{'title':'river'}}}",
            b'{query:{match:{title:"river"}}}',
            b'// a comment\n{"query":{"match":{"title":"river"}}}',
            b'\xef\xbb\xbf{"query":{"match":{"title":"river"}}}',
            b'{"query":{"match":{"title":"\xff"}}}',
            b'{"query":{"match":{"title":"\\ud800"}}}',
            b'{"query":{"match":{"title":NaN}}}',
            b'{"ext":{"unknown":{}},"query":{"match":{"title":"river"}}}',
            '{"query":{"match":{"title":"river"}}}'.encode("utf-16"),
        )
    ),
    "searches in many at once": (
        ask(
            "POST /_msearch",
            [
                {"index": "books"},
                MATCH,
                {"index": "none"},
                MATCH,
                {},
                {"size": 0},
                {"index": "books"},
                {"query": {"none": {}}},
            ],
        ),
        ask(
            "POST /books/_msearch?typed_keys=true&max_concurrent_searches=1",
            [{}, MATCH, {"preference": "_local"}, {**BOTH, "size": 2}],
        ),
        ask("GET /books/_msearch?rest_total_hits_as_int=true&pretty", [{}, MATCH]),
        ask("POST /books/_msearch?filter_path=responses.hits.hits._id", [{}, BOTH]),
        ask("POST /books/_msearch", b"{}\n" + json.dumps(MATCH).encode(), {"Content-Type": JSON}),
        ask(
            "POST /books/_msearch",
            b"\n" + json.dumps(MATCH).encode() + b"\n",
            {"Content-Type": "application/x-ndjson"},
        ),
        ask("POST /books/_msearch", b"", {"Content-Type": "application/x-ndjson"}),
        zipped(ask("POST /books/_msearch", [{}, MATCH])),
        ask(
            "POST /_msearch", [{"index": ["books", "books-too"], "search_type": "dfs_query_then_fetch"}, BOTH]
        ),
        ask("POST /books/_msearch", [{"unknown": 1}, MATCH]),
        ask("PUT /books/_msearch", [{}, MATCH]),
        ask(
            "POST /books/_msearch",
            [{}, {**BOTH, "from": 15, "size": 10}, {}, {**BOTH, "from": 30}],
            {"Content-Type": ES9_LINES, "Accept": ES9},
        ),
    ),
    "search templates": (
        ask(
            "PUT /_scripts/{index}",
            {
                "script": {
                    "lang": "mustache",
                    "source": {"query": {"match": {"title": "{{text}}"}}, "size": "{{size}}"},
                }
            },
        ),
        ask("POST /books/_search/template", {"id": "{index}", "params": {"text": "river", "size": 3}}),
        ask(
            "GET /books/_search/template?rest_total_hits_as_int=true",
            {"source": {"query": {"match": {"title": "{{t}}"}}}, "params": {"t": "river"}},
        ),
        ask(
            "POST /_render/template",
            {"source": {"query": {"match": {"title": "{{t}}"}}}, "params": {"t": "river"}},
        ),
        ask("POST /_render/template/{index}", {"params": {"text": "river", "size": 3}}),
        ask(
            "POST /books/_msearch/template",
            [{}, {"id": "{index}", "params": {"text": "river", "size": 3}}, {}, {"id": "none"}],
        ),
        ask("POST /books/_search/template", {"id": "none"}),
        ask("POST /books/_search/template"),
        ask(
            "POST /books/_search/template",
            {
                "source": '{ "query": {{#toJson}}q{{/toJson}} }',
                "params": {"q": {"match": {"body": "winter"}}},
            },
        ),
        ask("DELETE /_scripts/{index}"),
    ),
    "scroll": (
        ask("POST /books/_search?scroll=1m&size=25", BOTH, captures={"scroll": "_scroll_id"}),
        ask("POST /_search/scroll", {"scroll": "1m", "scroll_id": "{scroll}"}),
        ask("GET /_search/scroll?scroll=1m&scroll_id={scroll}"),
        ask("DELETE /_search/scroll", {"scroll_id": ["{scroll}"]}),
        ask("POST /_search/scroll", {"scroll_id": "{scroll}"}),
        ask("POST /_search/scroll", {"scroll_id": "nonsense"}),
        ask("POST /books/_search?scroll=25h", BOTH),
        ask("DELETE /_search/scroll/_all"),
    ),
    "a point in time of Elasticsearch": (
        ask("POST /books/_pit?keep_alive=1m"),
        ask("POST /books/_pit"),
        ask("DELETE /_pit", {"id": "nonsense"}),
        ask("POST /_search", {"pit": {"id": "nonsense"}, **MATCH}),
    ),
    "a point in time of OpenSearch": (
        ask("POST /books/_search/point_in_time?keep_alive=1m"),
        ask("POST /books/_search/point_in_time"),
        ask("DELETE /_search/point_in_time", {"pit_id": ["nonsense"]}),
        ask("DELETE /_search/point_in_time/_all"),
    ),
    "searches with search_after": (
        ask("POST /books/_search", {**BOTH, "sort": [{"_score": "desc"}, {"id": "asc"}], "size": 5}),
        ask(
            "POST /books/_search",
            {**BOTH, "sort": [{"_score": "desc"}, {"id": "asc"}], "search_after": [0.5, "b10"], "size": 5},
        ),
        ask("POST /books/_search", {**BOTH, "sort": ["pages", "id"], "search_after": [200, "b10"]}),
        ask("POST /books/_search", {**BOTH, "search_after": [1]}),
        ask("POST /books/_search", {**BOTH, "slice": {"id": 0, "max": 2}}),
    ),
    "asynchronous searches": (
        ask("POST /books/_async_search?wait_for_completion_timeout=5s", MATCH),
        ask("GET /_async_search/none"),
        ask("DELETE /_async_search/none"),
        ask("POST /_plugins/_asynchronous_search", MATCH),
        ask("POST /books/_knn_search", {"knn": {}}),
        ask("POST /books/_search_mvt/place/1/1/1"),
        ask("POST /books/_graph/explore", {"query": {"match_all": {}}}),
    ),
    "pipelines of searches": (
        ask(
            "PUT /_search/pipeline/{index}",
            {"response_processors": [{"rename_field": {"field": "title", "target_field": "name"}}]},
        ),
        ask("GET /_search/pipeline/{index}"),
        ask("POST /books/_search?search_pipeline={index}&size=2", MATCH),
        ask("POST /books/_search", {**MATCH, "search_pipeline": "none"}),
        ask("DELETE /_search/pipeline/{index}"),
    ),
}

HTTP: dict[str, tuple[Request, ...]] = {
    "methods": each(
        f"{method} {target}"
        for method in ("OPTIONS", "HEAD", "PATCH", "TRACE", "PUT", "DELETE")
        for target in (
            "/",
            "/books",
            "/books/_count",
            "/_cat/count/books?h=count",
            "/none/_mapping",
            "/_cluster/health/books",
        )
        if (method, target) not in (("DELETE", "/books"), ("HEAD", "/_cluster/health/books"))
    ),
    "methods that no standard knows": each(("get /books/_count", "UNKNOWN /books/_count", "LINK /books")),
    "errors": each(
        (
            "GET /none",
            "GET /none/_doc/1",
            "GET /_unknown",
            "GET /books/_unknown",
            "GET /books/_doc",
            "GET /books/type/1",
            "DELETE /books/_count",
            "GET /books/_search/unknown",
            "GET /%zz/_count",
            "GET /books/_count?q=%zz",
            "GET /_nodes/_local/none",
            "GET /favicon.ico",
            "GET /_plugin/none",
            "GET /_security/user",
            "GET /_plugins/_security/api/account",
            "GET /books/_doc/b01?version=7",
            "GET /books/_doc/b01?unknown=1&error_trace=false",
            "GET /books/_doc/b01?human=maybe",
            "GET /books/_doc/b01?pretty=maybe",
            "GET /" + "a" * 300,
            "GET /books/_count?q=" + "a" * 5000,
        )
    ),
    "headers": (
        ask(
            "GET /books/_count",
            headers={
                "X-Opaque-Id": "mine",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            },
        ),
        ask("POST /books/_search", MATCH, {"X-Opaque-Id": "mine"}),
        ask(
            "GET /books/_count",
            headers={"Origin": "http://elsewhere", "Access-Control-Request-Method": "GET"},
        ),
        ask(
            "OPTIONS /books/_search",
            headers={"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"},
        ),
        ask("GET /books/_count", headers={"Authorization": "Basic d3Jvbmc6d3Jvbmc="}),
        ask(
            "GET /books/_count",
            headers={
                "If-None-Match": "*",
                "Range": "bytes=0-5",
                "Cookie": "a=b",
                "X-Forwarded-For": "1.2.3.4",
                "User-Agent": "",
            },
        ),
        ask("GET /books/_count", headers={"Accept-Encoding": "gzip"}),
        ask("GET /books/_mapping", headers={"Accept-Encoding": "gzip"}),
        ask("HEAD /books/_mapping", headers={"Accept-Encoding": "gzip"}),
        ask("GET /books/_count", headers={"Accept": "application/unknown"}),
        ask("GET /books/_count", b"{}", {"Content-Type": "text/csv"}),
        ask("GET /books/_count", headers={"Content-Type": "text/csv"}),
        ask("POST /books/_count", headers={"Content-Type": JSON, "Content-Length": "0"}),
        ask("GET /_template/none*?include_type_name=true"),
        ask("PUT /{index}?master_timeout=30s", {"settings": {"index.soft_deletes.enabled": False}}),
    ),
}

STORIES: dict[str, tuple[Request, ...]] = DOCUMENTS | INDICES | CLUSTER | SEARCHES | HTTP

# engine, story: why its answers are not the same
KNOWN_DIFFERENCES: dict[tuple[str, str], str] = {
    ("opensearch", "methods that no standard knows"): (
        "the node closes the connection without an answer, the gateway's client is told so: 502"
    ),
}
