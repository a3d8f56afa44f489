"""Classifiers on a frozen body whose heads are functions of sums: a record is taken out again to the bit.

Features of the frozen body are rounded to a grid of integers (:mod:`~.grid`) and added up (:mod:`~.sums`); a head is
solved from the sums alone (:mod:`~.simplecil`, :mod:`~.ranpac`, :mod:`~.fecam`). Integer sums do not depend on the
order of the records, so that subtracting a record leaves exactly the sums, and with them the head, of a learner that
never saw it. A keyed list of records (:mod:`~.records`) refuses to forget what was not learnt.

    classifier = ExactClassifier(spec)
    classifier.learn(images, exact_features(body, images, bits), names)
    classifier.forget(images[:1], exact_features(body, images[:1], bits), names[:1])
    classifier.digests()  # those of a learner of the same key that never saw the first image

What must not change: no floating-point sum, no setting that was fitted to a record, no trace of one outside the list.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
