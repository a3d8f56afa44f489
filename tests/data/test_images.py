import torch

from myosotis.data.images import ImageSet


def test_choices_depend_on_names_not_on_order():
    images = torch.zeros(20, 1, 2, 2, dtype=torch.uint8)
    one = ImageSet(images, torch.zeros(20, dtype=torch.long), tuple(f"i{n}" for n in range(20)), ("x",))
    other = one.subset(list(reversed(range(20))))
    first = [one.names[place] for place in one.shuffled(3, "forget")]
    assert first == [other.names[place] for place in other.shuffled(3, "forget")]
    assert first != [one.names[place] for place in one.shuffled(4, "forget")]
    assert sorted(first) == sorted(one.names)


def test_digest_knows_bytes_and_label_only():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images[2] += 1
    known = ImageSet(images, torch.tensor([0, 0, 0]), ("a", "b", "c"), ("x",))
    assert known.digest(0) == known.digest(1) != known.digest(2)
