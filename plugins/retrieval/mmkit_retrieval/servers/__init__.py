"""Search servers, for corpora that are too large for one machine: Elasticsearch, OpenSearch and Milvus."""
