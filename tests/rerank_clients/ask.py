"""``python ask.py BASE_URL KEY CLIENT...``: two of three texts reranked by clients that know an address only.

Runs in an environment of its own and prints JSON: by client the two texts with their scores, best first, or
what it makes of an error.
"""

import json
import os
import sys
import warnings

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it looks for prices on the internet
warnings.simplefilter("ignore")

TEXTS = ["a", "ccc", "bb"]
QUERY = "wine"


def cohere_v1(url, key, model="tiny"):
    import cohere

    options = {"query": QUERY, "documents": TEXTS, "top_n": 2, "return_documents": True}
    answer = cohere.Client(key, base_url=url).rerank(model=model, **options)
    return [(result.document.text, result.relevance_score) for result in answer.results]


def cohere_v2(url, key, model="tiny"):
    import cohere

    answer = cohere.ClientV2(key, base_url=url).rerank(model=model, query=QUERY, documents=TEXTS, top_n=2)
    return [(TEXTS[result.index], result.relevance_score) for result in answer.results]


def cohere_without_key(url, key):
    import cohere

    try:
        cohere_v2(url, "wrong")
    except cohere.UnauthorizedError as error:
        return error.body["message"]


def cohere_unknown_model(url, key):
    import cohere

    try:
        cohere_v2(url, key, "nobody")
    except cohere.NotFoundError as error:
        return error.body["message"]


def voyage(url, key, model="tiny"):
    import voyageai

    client = voyageai.Client(api_key=key, base_url=f"{url}/v1", max_retries=0)
    answer = client.rerank(QUERY, TEXTS, model=model, top_k=2)
    return [(result.document, result.relevance_score) for result in answer.results]


def voyage_without_top_k(url, key):
    import voyageai

    answer = voyageai.Client(api_key=key, base_url=f"{url}/v1").rerank(QUERY, TEXTS, model="tiny")
    return [(result.document, result.relevance_score) for result in answer.results[:2]]


def voyage_unknown_model(url, key):
    import voyageai

    try:
        voyage(url, key, "nobody")
    except voyageai.error.VoyageError as error:
        return str(error)


def _litellm(provider, url, key):
    import litellm

    options = {"query": QUERY, "documents": TEXTS, "top_n": 2, "api_base": url, "api_key": key}
    answer = litellm.rerank(model=f"{provider}/tiny", **options)
    return [(result["document"]["text"], result["relevance_score"]) for result in answer.results]


def litellm_cohere(url, key):
    return _litellm("cohere", url, key)


def litellm_vllm(url, key):
    return _litellm("hosted_vllm", url, key)


def litellm_infinity(url, key):
    return _litellm("infinity", f"{url}/infinity", key)


def litellm_jina(url, key):
    return _litellm("jina_ai", f"{url}/v1/rerank", key)


def litellm_huggingface(url, key):
    return _litellm("huggingface", url, key)


def _compress(compressor):
    from langchain_core.documents import Document

    found = compressor.compress_documents([Document(page_content=text) for text in TEXTS], QUERY)
    return [(document.page_content, document.metadata["relevance_score"]) for document in found]


def langchain_cohere(url, key):
    from langchain_cohere import CohereRerank

    return _compress(CohereRerank(cohere_api_key=key, base_url=url, model="tiny", top_n=2))


def langchain_voyage(url, key):
    from langchain_voyageai import VoyageAIRerank

    return _compress(VoyageAIRerank(model="tiny", api_key=key, base_url=f"{url}/v1", top_k=2))


def langchain_jina(url, key):
    from langchain_community.document_compressors import JinaRerank, jina_rerank

    jina_rerank.JINA_API_URL = f"{url}/v1/rerank"  # it has no option for it
    return _compress(JinaRerank(jina_api_key=key, model="tiny", top_n=2))


def _postprocess(postprocessor):
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    return [(node.node.text, node.score) for node in postprocessor.postprocess_nodes(nodes, query_str=QUERY)]


def llamaindex_cohere(url, key):
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return _postprocess(CohereRerank(api_key=key, base_url=url, model="tiny", top_n=2))


def llamaindex_tei(url, key):
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    options = {"base_url": url, "model_name": "tiny", "top_n": 2, "auth_token": f"Bearer {key}"}
    return _postprocess(TextEmbeddingInference(**options))


def _rank(ranker):
    from haystack import Document

    found = ranker.run(QUERY, [Document(content=text) for text in TEXTS])
    return [(document.content, document.score) for document in found["documents"]]


def haystack_cohere(url, key):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    return _rank(CohereRanker(model="tiny", api_base_url=url, top_k=2, api_key=Secret.from_token(key)))


def haystack_tei(url, key):
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    return _rank(HuggingFaceTEIRanker(url=url, top_k=2, token=Secret.from_token(key)))


if __name__ == "__main__":
    url, key, *names = sys.argv[1:]
    answers = {}
    for name in names:
        try:
            answers[name] = globals()[name](url, key)
        except Exception as error:
            answers[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(answers))
