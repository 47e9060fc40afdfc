"""The synthetic world of `--sample`: posts, pairs, and a corpus whose articles say what an ambiguous name is.

Two of five posts are explained by an article that the sentence finds, two by one that the photo finds:

- "reading about Jordan at Kovefest" has a word that occurs in one article, which says what Jordan is there; such
  words of the development and test split never occur in training. The photo shows a meal.
- "look at Jordan !" comes with a photo that resembles one image of the corpus; text retrieval finds one article of
  this name, always the same one.

The fifth post says itself what the name is. So an expert with only one of the two must guess where the other knows,
and the sentence shows which of the two experts knows.
"""

from mmkit_more.sample.corpus import write_corpus
from mmkit_more.sample.pairs import mnre_sample
from mmkit_more.sample.posts import conll_sample

__all__ = ["conll_sample", "mnre_sample", "write_corpus"]
