"""A language model that forgets exactly: a small adapter for each subject on a frozen model, and a router of sums.

Each subject's adapter (:mod:`~.low_rank`) is trained on the records of this subject alone, from a start and in an order
that follow from the seed, the subject and the records. A router (:mod:`~.router`), whose head is solved from integer
sums over the records, sends a question to the adapter of the subject that it is about, and every other question to the
model as it was. The state of the learner (:mod:`~.learner`) is therefore a function of the *set* of its records: to
forget a subject is to drop its adapter and to subtract its sums, and what is left has the digests of a learner that
never saw the subject.

    learner = SubjectLearner(spec, model, tokenizer, store)
    learner.learn(records)
    learner.forget(["Ann Lee"])
    learner.digests()  # those of a learner of the same key that learned the others alone
    learner.answer(["Where was Bo Roe born?"])

What must not change: nothing of one subject's training depends on another's records, and no setting is fitted to any.
"""
