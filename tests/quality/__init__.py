"""Questions about ``docs/samples`` with answers a program can check.

``questions.jsonl`` holds one object a line:

- ``id``: ``ru01`` to ``ru25``, ``en01`` to ``en25``; ``lang``: the language of the question, and
  so of the answer;
- ``answerable``: false where the samples do not hold the answer; ``source`` is then null and
  ``expect`` empty, and the only right answer is that the documents do not say;
- ``source``: a document that holds the whole answer, as a path within ``docs/samples``. It may
  be in the other language;
- ``expect``: what a right answer contains, every entry of it. An entry is a string or a list of
  alternatives of which one is enough. Compare without regard to case, ё and е, the kind of
  minus or the kind and number of spaces. In the text of ``source`` every string occurs, and of
  every list at least one alternative.
"""
