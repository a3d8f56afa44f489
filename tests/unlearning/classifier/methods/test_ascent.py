import pytest


def test_neggrad_and_relabel(begun, ce, network, make_request):
    model = network()
    request = make_request()
    forget = request.forget
    terms = begun("neggrad", request, model).terms(model, 0)
    assert terms["forget"].item() == pytest.approx(-ce(model, forget.images[:2], forget.labels[:2]).item(), abs=1e-6)
    # The second batch holds what is left.
    terms = begun("neggrad", request, model).terms(model, 3)
    assert terms["forget"].item() == pytest.approx(-ce(model, forget.images[2:], forget.labels[2:]).item(), abs=1e-6)
    request = make_request("relabel")
    terms = begun("relabel", request, model).terms(model, 0)
    assert terms["forget"].item() == pytest.approx(
        ce(model, request.forget.images[:2], request.new_labels[:2]).item(), abs=1e-6
    )
