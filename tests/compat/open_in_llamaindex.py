"""Opens a folder with the installed LlamaIndex and prints what it finds there: python open_in_llamaindex.py FOLDER."""

from __future__ import annotations

import json
import sys

from llama_index.core import Settings, StorageContext, load_index_from_storage, load_indices_from_storage
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.vector_stores import VectorStoreQuery


def main() -> None:
    Settings.embed_model, Settings.llm = MockEmbedding(4), MockLLM()
    storage = StorageContext.from_defaults(persist_dir=sys.argv[1])
    indices = load_indices_from_storage(storage)
    if len(indices) == 1:
        load_index_from_storage(storage)
    store = storage.vector_store
    best = {}
    for node_id, vector in store.data.embedding_dict.items():
        best[node_id] = store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=1)).ids[0]
    nodes = {}
    for node_id, node in storage.docstore.docs.items():
        nodes[node_id] = {"text": node.get_content(), "metadata": node.metadata, "ref_doc_id": node.ref_doc_id}
    told = {
        "indexes": {index.index_id: sorted(index.index_struct.nodes_dict.values()) for index in indices},
        "nodes": nodes,
        "best": best,
        "namespaces": sorted(storage.vector_stores),
    }
    print(json.dumps(told))


main()
