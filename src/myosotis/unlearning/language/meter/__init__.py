"""The meter: which figures of an audit tell who was seen, on a model that was taught people at known doses."""
