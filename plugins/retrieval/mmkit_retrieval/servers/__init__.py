"""Servers that hold what outgrows one machine: Elasticsearch, OpenSearch and Milvus."""
