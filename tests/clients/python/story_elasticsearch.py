"""The story with elasticsearch-py 8 or 9: one line of JSON, what an application sees. See ../README.md."""

import json
import os

from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError
from elasticsearch.helpers import bulk

index = os.environ["STORY_INDEX"]
client = Elasticsearch(os.environ["STORY_URL"], http_compress=True)
wine = {"query": {"match": {"title": "wine"}}, "size": 12}
in_order = {"query": {"match": {"title": "wine"}}, "sort": ["n"], "size": 3}


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def error_of(call):
    try:
        call()
    except (NotFoundError, BadRequestError) as error:
        return [type(error).__name__, error.meta.status, error.error]


told = {"ping": client.ping()}
try:
    told["info"] = client.info()["version"]["number"]
except ApiError as error:  # this node has no main page
    told["info"] = [type(error).__name__, error.meta.status]
told["create"] = client.indices.create(index=index, settings={"number_of_replicas": 0})["acknowledged"]
documents = [{"_index": index, "_id": n, "title": "wine" + " and water" * n, "n": n} for n in range(12)]
told["bulk"] = bulk(client, documents, refresh=True)[0]
told["get"] = client.get(index=index, id="1")["_source"]["title"]
told["exists"] = [bool(client.exists(index=index, id=id)) for id in ("1", "none")]
told["count"] = client.count(index=index)["count"]
told["search"] = ids(client.search(index=index, **wine))
told["opted_out"] = ids(client.options(headers={"X-Rerank": "off"}).search(index=index, **wine))
searches = [{}, in_order, {"index": index + "-none"}, wine]
msearch = client.msearch(index=index, searches=searches)["responses"]
told["msearch"] = [ids(msearch[0]), msearch[1]["status"]]
page = client.search(index=index, scroll="1m", **in_order)
told["scroll"] = []
while page["hits"]["hits"]:
    told["scroll"] += ids(page)
    page = client.scroll(scroll_id=page["_scroll_id"], scroll="1m")
client.clear_scroll(scroll_id=page["_scroll_id"])
pit = client.open_point_in_time(index=index, keep_alive="1m")["id"]
told["pit"] = ids(client.search(pit={"id": pit}, **in_order))
client.close_point_in_time(id=pit)
told["not_found"] = error_of(lambda: client.get(index=index + "-none", id="1"))
told["bad_request"] = error_of(lambda: client.search(index=index, query={"none": {}}))
told["delete"] = client.delete(index=index, id="1")["result"]
told["drop"] = client.indices.delete(index=index)["acknowledged"]
print(json.dumps(told))
