"""What a model shows of records: memorisation, answers, membership, stress, benchmarks, and the verdict."""
