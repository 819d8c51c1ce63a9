"""LlamaIndex's nodes as JSON: read as any release wrote them, written as the present ones do, kept beside a passage."""
