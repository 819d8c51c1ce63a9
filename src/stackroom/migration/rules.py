"""What is done about each kind of anomaly, in the words of the report."""

RULES = {
    "no vector": "Kept as text, found by its words.",
    "a vector without text": "Left out; --keep-orphans keeps its id, metadata and vector.",
    "in no index": "Kept and searched; the old program did not return it.",
    "another dimension": "The text is kept, the vector is set aside; --split-dims keeps it in a collection.",
    "NaN or infinity": "The text is kept, the vector is set aside.",
    "not a list of numbers": "The text is kept, as one without a vector.",
    "all zeros": "Kept; its score is 0.",
    "written twice, the last one counts": "As the old program reads it.",
    "a node without an id": "Left out.",
    "ids that share a vector": "The text is kept; whose vector it is can not be known. To embed them: stackroom rebuild SOURCE, or rebuild --embedder NAME.",
    "a vector that no node has": "Left out: it was deleted in the old program.",
    "a list of nodes that are gone": "Dropped.",
    "vectors were quantised": "Kept as they could be had back, which is not what was embedded: stackroom rebuild --embedder NAME.",
    "embedded in more than one way": "Their scores can't be compared; embed all anew: stackroom rebuild --embedder NAME.",
    "a document whose folder is missing": "Nothing of it is left to bring along.",
    "the same id in two indexes": "The first one is kept.",
}
