"""Small knobs: branches scaled and dropped, a class token, rates by layer, a curated pool."""

import pytest
import torch
from torch import nn

from ssl_lessons.data.curation import messy_pool, retrieved, without_copies
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import fine_tune
from ssl_lessons.evaluation.fine_tuning import layer_groups
from ssl_lessons.models import ScaledBlock, build_encoder, transformer_blocks

TINY = {"size": 16, "patch": 8, "dim": 16, "depth": 3, "heads": 2}


def pictures(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def twin(plain: nn.Module, **options) -> nn.Module:
    """The same ViT with options, and the plain one's weights where it has them."""
    other = build_encoder("vit", **TINY, **options)
    missing, unexpected = other.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all("scales" in name or name == "cls" for name in missing)
    return other


def plain_vit() -> nn.Module:
    torch.manual_seed(0)
    return build_encoder("vit", **TINY)


class TestBlocks:
    def test_off_they_are_pytorchs_own(self):
        assert {type(b) for b in plain_vit().blocks} == {nn.TransformerEncoderLayer}
        plain, x = plain_vit().train(), pictures()
        torch.testing.assert_close(twin(plain, layer_scale=1.0).train()(x), plain(x))
        torch.testing.assert_close(twin(plain, drop_path=0.5).eval()(x), plain.eval()(x))

    def test_a_block_is_its_formula(self):
        torch.manual_seed(0)
        block = ScaledBlock(8, 2, layer_scale=0.3).double()
        with torch.no_grad():
            block.scales.copy_(torch.rand(2, 8))
        x = torch.randn(2, 5, 8, dtype=torch.float64)
        q, k, v = (
            (block.self_attn.in_proj_weight @ block.norm1(x).mT)
            .mT.add(block.self_attn.in_proj_bias)
            .chunk(3, -1)
        )
        heads = [
            ((q[..., s] @ k[..., s].mT) / 2).softmax(-1) @ v[..., s] for s in (slice(0, 4), slice(4, 8))
        ]  # sqrt(4) = 2
        y = x + block.scales[0] * block.self_attn.out_proj(torch.cat(heads, -1))
        mlp = block.linear2(nn.functional.gelu(block.linear1(block.norm2(y))))
        torch.testing.assert_close(block(x), y + block.scales[1] * mlp)

    def test_scale_zero_is_the_identity(self):
        x = torch.randn(2, 4, 8)
        torch.testing.assert_close(ScaledBlock(8, 2, layer_scale=0.0)(x), x, rtol=0, atol=0)

    def test_a_dropped_branch_keeps_its_expectation(self):
        torch.manual_seed(0)
        block = ScaledBlock(8, 2, drop_path=0.25).train()
        f = torch.ones(40_000, 1, 8)
        kept = block.branch(0, f)
        assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
        assert (kept == kept[..., :1]).all()  # an image keeps or loses the whole branch
        assert float(kept.mean()) == pytest.approx(1, abs=0.02)
        assert torch.equal(block.eval().branch(0, f), f)

    def test_probabilities_rise_with_depth(self):
        blocks = transformer_blocks(8, 4, 2, drop_path=0.2)
        assert [b.drop_path for b in blocks] == pytest.approx([0.05, 0.1, 0.15, 0.2])

    @pytest.mark.parametrize("options", [{"drop_path": 1.0}, {"drop_path": -0.1}, {"layer_scale": -1.0}])
    def test_what_is_no_probability_or_scale_is_told(self, options):
        with pytest.raises(InputError, match=next(iter(options))):
            build_encoder("vit", **TINY, **options)


class TestClassToken:
    def test_it_is_the_feature_and_sees_the_patches(self):
        vit, x = twin(plain_vit(), pool="cls").eval(), pictures()
        assert vit(x).shape == (6, 16) and vit.patches(x).shape == (6, 4, 16)
        tokens = torch.cat([vit.cls.expand(6, 1, -1), vit.tokens(x)], dim=1)
        for block in vit.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(vit(x), vit.norm(tokens)[:, 0])
        torch.testing.assert_close(vit.patches(x), vit.norm(tokens)[:, 1:])
        assert (vit(x) - vit(x.flip(3))).abs().max() > 1e-3

    def test_an_unknown_pool_is_told(self):
        with pytest.raises(InputError, match="'mean' or 'cls'"):
            build_encoder("vit", **TINY, pool="max")


class TestLayerDecay:
    def test_rates_by_layer(self):
        vit, head = plain_vit(), nn.Linear(16, 3)
        groups = layer_groups(vit, head, 1.0, 0.5)
        assert [g["lr"] for g in groups] == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
        assert {id(p) for p in groups[0]["params"]} == {id(p) for p in vit.embed.parameters()}
        assert {id(p) for p in groups[2]["params"]} == {id(p) for p in vit.blocks[1].parameters()}
        assert {id(p) for p in groups[4]["params"]} == {
            id(p) for p in (*vit.norm.parameters(), *head.parameters())
        }
        everything = [id(p) for g in groups for p in g["params"]]
        assert sorted(everything) == sorted(id(p) for p in (*vit.parameters(), *head.parameters()))

    def test_the_first_layers_move_less(self):
        vit, g = plain_vit(), torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (20, 3, 16, 16), generator=g, dtype=torch.uint8)
        labels = torch.arange(20) % 2

        def moved(decay: float) -> list[float]:
            found = fine_tune(
                vit, images, labels, images, labels, steps=3, layer_decay=decay, weight_decay=0.0
            )
            pairs = ((found.encoder.embed, vit.embed), (found.encoder.norm, vit.norm))
            return [float((a.weight - b.weight).detach().abs().max()) for a, b in pairs]

        (first, last), (first_slow, last_slow) = moved(1.0), moved(0.1)
        assert first_slow < 1e-3 * first and last_slow > 0.5 * last

    def test_one_is_off_and_nonsense_is_told(self):
        vit, head = plain_vit(), nn.Linear(16, 3)
        with pytest.raises(InputError, match="above 0 and at most 1"):
            layer_groups(vit, head, 1.0, 1.5)
        with pytest.raises(InputError, match="needs a transformer"):
            layer_groups(build_encoder("convnet"), head, 1.0, 0.5)


class TestCuration:
    def test_copies_go_also_in_chains(self):
        angle = torch.tensor([0.0, 90.0, 5.0, 10.0, 92.0, 200.0]).deg2rad()
        x = 3 * torch.stack([angle.cos(), angle.sin()], dim=1)
        near = float(torch.tensor(6.0).deg2rad().cos())
        assert without_copies(x, near).tolist() == [0, 1, 5]  # 0, 5 and 10 degrees are one chain
        assert without_copies(x, 0.999).tolist() == [0, 1, 2, 3, 5]  # 90 and 92 degrees
        assert without_copies(x, -1.0).tolist() == [0]

    def test_rows_in_blocks_are_the_rows(self):
        x = torch.randn(2500, 8, generator=torch.Generator().manual_seed(0))
        x = torch.cat([x, x[:300]])
        assert without_copies(x, 0.99999).tolist() == list(range(2500))

    def test_a_messy_pool_is_what_it_says(self):
        images, shows = messy_pool(200, seed=3, shares=(0.3, 0.2))
        assert images.shape == (200, 3, 32, 32) and images.dtype == torch.uint8
        assert shows[:60].all() and not shows[60:100].any() and shows[100:].all()
        clean, rest = images[:60].float(), images[100:].float()
        assert len(images[:60].flatten(1).unique(dim=0)) == 60
        apart = torch.cdist(rest.flatten(1), rest.flatten(1)) / (3 * 32 * 32) ** 0.5
        assert (apart[:, :6].argmin(dim=1) == torch.arange(100) % 6).all()  # six pictures, again and again
        assert (
            float(apart[0, 6]) < 6 and float((rest[0] - clean).square().mean(dim=(1, 2, 3)).sqrt().min()) > 12
        )
        with pytest.raises(InputError, match="leave nothing"):
            messy_pool(200, shares=(0.6, 0.4))

    def test_what_resembles_the_trusted_comes(self):
        pool = torch.eye(4).repeat_interleave(2, dim=0) + 0.01 * torch.arange(8)[:, None]
        assert retrieved(pool[[0, 6]], pool, k=2).tolist() == [0, 1, 6, 7]
        assert retrieved(7 * pool[[0]], pool, k=8).tolist() == list(range(8))

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda x: without_copies(x[0], 0.9), "features"),
            (lambda x: without_copies(x, 2.0), "a cosine"),
            (lambda x: retrieved(x[:, :2], x, 1), "one width"),
            (lambda x: retrieved(x, x, 9), "from 1 to the 8"),
        ],
    )
    def test_errors(self, call, words):
        with pytest.raises(InputError, match=words):
            call(torch.randn(8, 4))
