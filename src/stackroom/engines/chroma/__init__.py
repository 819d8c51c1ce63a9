"""A library in collections of a Chroma server, as `chroma run` starts one: rows in versions, as `engines/versioned` has them.

Chroma keeps a record's id, its metadata and its vector. It has no transactions, gives all of a record's metadata or none of it, and takes as long for a
condition as there are records that meet it. So here:

- **A row's numbers are its id** (`rows.py`). Ids alone are read some twenty times quicker than metadata, and conditions are met on them by numpy, in the
  client. Chroma is asked for the rows of a key, a name or an owner alone (`choosing.py`).
- **Arrays are looked up by postings**, records that say which rows have a number (`postings.py`): words, metadata, collections. Chroma's arrays in metadata and its
  own full text cost five times as long to write, and one server has no sparse vectors.
- **The atomic step** is to add a record: one that has its id already is left as it is (`gates.py`).
- **Vectors** are found by Chroma's HNSW index (`database.py`). Asked for all that there are, it gives all that it reaches, and those are counted: so
  a search is exact where it must be, and where an index was lost.

The client is the HTTP API itself, over httpx: no package of Chroma's, which is large and has telemetry.
"""
