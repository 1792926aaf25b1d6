"""The story with opensearch-py: one line of JSON, what an application sees. See ../README.md."""

import json
import os

from opensearchpy import NotFoundError, OpenSearch, RequestError
from opensearchpy.helpers import bulk

index = os.environ["STORY_INDEX"]
client = OpenSearch(os.environ["STORY_URL"], http_compress=True)
wine = {"query": {"match": {"title": "wine"}}, "size": 12}
in_order = {"query": {"match": {"title": "wine"}}, "sort": ["n"], "size": 3}


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def error_of(call):
    try:
        call()
    except (NotFoundError, RequestError) as error:
        return [type(error).__name__, error.status_code, error.error]


told = {"info": client.info()["version"]["number"], "ping": client.ping()}
told["create"] = client.indices.create(index=index, body={"settings": {"number_of_replicas": 0}})[
    "acknowledged"
]
documents = [{"_index": index, "_id": n, "title": "wine" + " and water" * n, "n": n} for n in range(12)]
told["bulk"] = bulk(client, documents, refresh=True)[0]
told["get"] = client.get(index=index, id="1")["_source"]["title"]
told["exists"] = [client.exists(index=index, id="1"), client.exists(index=index, id="none")]
told["count"] = client.count(index=index)["count"]
told["search"] = ids(client.search(index=index, body=wine))
told["opted_out"] = ids(client.search(index=index, body=wine, headers={"X-Rerank": "off"}))
msearch = client.msearch(index=index, body=[{}, in_order, {"index": index + "-none"}, wine])["responses"]
told["msearch"] = [ids(msearch[0]), msearch[1]["status"]]
page = client.search(index=index, body=in_order, scroll="1m")
told["scroll"] = []
while page["hits"]["hits"]:
    told["scroll"] += ids(page)
    page = client.scroll(body={"scroll_id": page["_scroll_id"], "scroll": "1m"})
client.clear_scroll(body={"scroll_id": page["_scroll_id"]})
pit = client.create_pit(index=index, keep_alive="1m")["pit_id"]
told["pit"] = ids(client.search(body={**in_order, "pit": {"id": pit}}))
client.delete_pit(body={"pit_id": [pit]})
source = {"query": {"match": {"title": "{{word}}"}}, "sort": ["n"], "size": 3}
template = {"source": source, "params": {"word": "wine"}}
told["template"] = ids(client.search_template(index=index, body=template))
told["not_found"] = error_of(lambda: client.get(index=index + "-none", id="1"))
told["bad_request"] = error_of(lambda: client.search(index=index, body={"query": {"none": {}}}))
told["delete"] = client.delete(index=index, id="1")["result"]
told["drop"] = client.indices.delete(index=index)["acknowledged"]
print(json.dumps(told))
