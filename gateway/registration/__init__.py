"""The cluster calls us: what makes OpenSearch's own search pipelines ask our rerank API for scores."""
