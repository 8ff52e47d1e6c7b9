import pytest
import torch

from bench.errors import BenchError
from bench.features.pooling import HEAD, Head, gemp, relup, rgem, sgem


def test_gemp_is_a_power_mean():
    feature_map = torch.tensor([3.0, 4.0, 0.0, 0.0]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(gemp(feature_map, p=2), torch.tensor([[12.5**0.5, 1e-8]]))
    torch.testing.assert_close(gemp(feature_map, p=1, eps=1e-6)[:, :1], torch.tensor([[3.5]]))


def test_rgem_of_a_flat_map_is_the_map():
    flat = torch.full((1, 2, 5, 6), 0.7)
    torch.testing.assert_close(rgem(flat), flat)


def test_rgem_by_hand():
    peak = torch.zeros(1, 1, 5, 5)
    peak[..., 2, 2] = 3
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = (9 / 9) ** 0.5 / 2  # the root of the mean square in 3 x 3, halved
    expected[2, 2] += 1.5
    torch.testing.assert_close(rgem(peak, pr=2, size=3)[0, 0], expected)


def test_rgem_reflects_at_the_border():
    ramp = torch.tensor([1.0, 2.0, 3.0]).expand(1, 1, 3, 3)
    # Reflection puts 2 beside 1: the corner's window holds 2, 1, 2 in every row.
    assert rgem(ramp, pr=1, size=3)[0, 0, 0, 0] == pytest.approx((1 + 5 / 3) / 2)


def test_rgem_of_negative_values_is_nan_as_in_the_official_code():
    assert torch.isnan(rgem(torch.full((1, 1, 3, 3), -1.0))).all()


@pytest.mark.parametrize(("shape", "size"), [((4, 4), 2), ((2, 7), 5), ((7, 2), 5)])
def test_rgem_refuses_what_the_window_does_not_fit(shape, size):
    with pytest.raises(BenchError):
        rgem(torch.rand(1, 1, *shape), size=size)


def test_sgem():
    scales = [torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])]
    torch.testing.assert_close(sgem(scales), torch.tensor([[1.0, 0.8]]))
    torch.testing.assert_close(sgem(scales, ps=2), torch.tensor([[(10 / 2) ** 0.5, (16 / 2) ** 0.5]]))


def test_relup_raises_small_values_to_alpha():
    torch.testing.assert_close(relup(torch.tensor([-1.0, 0.0, 0.01, 2.0])), torch.tensor([0.014, 0.014, 0.014, 2.0]))


def test_head_by_hand():
    state = {
        f"{HEAD}fc.weight": 10 * torch.eye(2),
        f"{HEAD}fc.bias": torch.tensor([0.0, 1.0]),
        f"{HEAD}pool.p": torch.tensor([1.0]),
        "encoder_q.globalmodel.stem.weight": torch.zeros(3),
    }
    maps = [torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1).expand(1, 2, 3, 3), torch.ones(1, 2, 3, 4)]
    plain = Head.from_state(state, use_gemp=False, use_rgem=False, use_sgem=False)
    torch.testing.assert_close(plain.per_scale(maps[0]), torch.tensor([[6.0, 9.0]]))  # 0.6 and 0.8, times 10, plus bias
    second = 10 * 0.5**0.5
    mean = torch.tensor([[(6 + second) / 2, (9 + second + 1) / 2]])
    torch.testing.assert_close(plain(maps), mean / mean.norm())
    # Pooling leaves flat maps as they are; sgem takes the larger of the two normalised descriptors.
    unit = [torch.nn.functional.normalize(torch.tensor(v), dim=0) for v in ([6.0, 9.0], [second, second + 1])]
    largest = torch.maximum(*unit)
    torch.testing.assert_close(Head.from_state(state)(maps)[0], largest / largest.norm())


def test_head_names_the_missing_keys():
    with pytest.raises(BenchError, match=r"pool\.p"):
        Head.from_state({f"{HEAD}fc.weight": torch.eye(2), f"{HEAD}fc.bias": torch.zeros(2)})
