"""The drawn world of `--sample`: posts, pairs, and a corpus whose articles tell what an ambiguous name stands for.

For half of the posts the article is found by the sentence, for the other half by the photo:

- "reading about Jordan at Kovelo" has a word that occurs in one article, which says what Jordan is there; words of
  the development and test split never occur in training. The photo shows a lunch.
- "look at Jordan !" comes with a photo that resembles one picture of the corpus; text retrieval finds one of the
  namesakes, and always the same one.

So an expert that retrieves by one of the two is right on its half, and knows from the sentence which half that is.
"""

from mmkit_more.sample.corpus import write_corpus
from mmkit_more.sample.pairs import mnre_sample
from mmkit_more.sample.posts import conll_sample

__all__ = ["conll_sample", "mnre_sample", "write_corpus"]
