"""Windows as tokens: the dictionary, the tokenizer, files of tokens, exports."""

import ast
import functools
import itertools
import json
import pickle
import random
import string
import struct
import subprocess
import sys

import numpy as np
import pytest
from conftest import CODE, ENGLISH, SCRIPTS, TEXTS, SmallModel

import nzip
from nzip import _predict, errors, frame, models, reference
from nzip._trie import Trie
from nzip.modes import dictionary
from nzip.tokens import SPECIAL_TOKENS, Tokenizer, count, export, tokenfile, tokenizations

RANDOM = np.random.default_rng(5).bytes(3000)
ALL = {"english": ENGLISH, "code": CODE, "scripts": SCRIPTS, "random": RANDOM, **TEXTS}


@pytest.fixture(scope="module", params=["counted", "eqinfo"])
def tokenizer(request):
    return Tokenizer(request.param)


@pytest.mark.parametrize("extreme", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dictionary_is_the_references(extreme):
    model = SmallModel(2, extreme=extreme)
    for width in (8, 9):
        entries = reference.window_dictionary(width, reference.m1_tree(model.reference()))
        trie = Trie(*_predict.eqinfo_tree(model.predictor, width))
        assert [trie.string(k) for k in range(1 << width)] == entries
        text = ENGLISH[:300] + bytes(range(256))
        codes = reference.encode_dictionary(text, entries)
        assert trie.encode_bits(width, text, room=1000) == reference.pack_codes(codes, width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [11, 16, 18])
@pytest.mark.parametrize("extreme", [False, True])
def test_windows_of_the_dictionary_are_those_of_running_m1(width, extreme):
    """A string is in the dictionary if its probability reaches that of the least probable one."""
    model = SmallModel(2, extreme=extreme)
    tree = reference.m1_tree(model.reference())
    trie = Trie(*_predict.eqinfo_tree(model.predictor, width))
    strings = [trie.string(k) for k in range(len(trie))]

    @functools.cache
    def mass(string: bytes) -> int:
        whole = mass(string[:-1]) if string else 0
        if not string:
            return 1 << 62
        return reference._masses(whole, tree(string[:-1]))[string[-1]]

    text = ENGLISH[:60] + CODE[:40] + SCRIPTS[:20] + RANDOM[:20]
    at, inside, outside = 0, [], []
    for number in reference.encode_dictionary(text, strings):
        string = strings[number]
        inside += [mass(string[:k]) for k in range(2, len(string) + 1)]
        at += len(string)
        if at < len(text):
            outside.append(mass(text[at - len(string) : at + 1]))
    assert min(inside) >= max(outside)
    code = trie.encode_bits(width, text, room=1000)
    assert trie.decode_bits(width, code, len(text)) == text


def test_models_of_one_mind_still_fill_a_dictionary():
    for scale in (0, 3000):  # all bytes equally likely; one byte certain
        model = SmallModel(3)
        model.tensors["out_mult"][:] = 0
        model.tensors["out_bias"][:] = -scale << 12
        lengths, last = _predict.eqinfo_tree(model.make(), 16)
        trie = Trie(lengths, last)
        assert len(trie) == 65520
        assert trie.longest == (2 if scale == 0 else 65520 - 255)


def test_dictionary_is_complete(tokenizer):
    entries = tokenizer.vocabulary()
    assert len(entries) == dictionary.codewords(16) == 65520
    assert entries == sorted(set(entries))
    known = set(entries)
    assert all(bytes([b]) in known for b in range(256))
    assert all(entry[:-1] in known for entry in entries if len(entry) > 1)
    for number in range(0, 65520, 97):
        assert tokenizer.encode(entries[number]) == [number]


@pytest.mark.parametrize(
    "change",
    [
        lambda lengths, last: (lengths[2:], last[1:]),
        lambda lengths, last: (lengths[:-2], last),
        lambda lengths, last: (bytes(len(lengths)), last),
        lambda lengths, last: (b"\x05\x00" + lengths[2:], last),
        lambda lengths, last: (lengths, last[:1] * len(last)),
        lambda lengths, last: (lengths[: 2 * 255], last[:255]),
        lambda lengths, last: (lengths[::-1], last[::-1]),
    ],
)
def test_tables_that_are_no_dictionary_are_refused(change):
    lengths, last = _predict.eqinfo_tree(SmallModel(2).predictor, 11)
    with pytest.raises(ValueError, match="dictionary"):
        Trie(*change(bytes(lengths), bytes(last)))


def test_kept_dictionaries_are_used_and_damaged_ones_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("NZIP_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(dictionary, "_tries", {})
    model = models.load()
    first = dictionary.of_model(model, 12)
    (path,) = (tmp_path / "kept").iterdir()
    whole = path.read_bytes()
    assert path.name == f"{model.digest.hex()[:32]}-12.windows"
    for data in (whole[:-1], whole[:100], b"", whole[:60] + b"x" + whole[61:]):
        path.write_bytes(data)
        dictionary._tries.clear()
        assert dictionary.of_model(model, 12).tables() == first.tables()
    assert path.read_bytes() == whole
    dictionary._tries.clear()
    monkeypatch.setenv("NZIP_CACHE", str(path / "no folder"))
    assert dictionary.of_model(model, 12).tables() == first.tables()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("align", [None, "word"])
@pytest.mark.parametrize("model", ["counted", "eqinfo"])
def test_any_bytes_come_back(name, align, model):
    tokenizer = Tokenizer(model, align=align)
    text = ALL[name]
    ids = tokenizer.encode(text)
    assert tokenizer.decode_bytes(ids) == text
    assert b"".join(map(tokenizer.id_to_bytes, ids)) == text
    assert tokenizer.encode_to_numpy(text).tolist() == ids
    assert tokenizer.encode_to_numpy(text).dtype == np.uint16
    numbers, offsets = tokenizer.encode_with_offsets(text)
    assert numbers == ids
    assert offsets == np.cumsum([0, *map(len, map(tokenizer.id_to_bytes, ids))])[:-1].tolist()


def test_strings_come_back_cut_anywhere(tokenizer):
    text = "naïve café, 東京 \N{GRINNING FACE} " * 3
    data = text.encode()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    for cut in range(len(data)):
        for part in (data[:cut], data[cut:]):
            assert tokenizer.decode_bytes(tokenizer.encode(part)) == part
    lone = "a\ud800b"
    assert tokenizer.decode(tokenizer.encode(lone), "surrogatepass") == lone


def test_tokens_are_the_windows_of_the_file_mode():
    tokenizer = Tokenizer("eqinfo")
    packed = nzip.compress(ENGLISH, "eqinfo", window=16)
    _, at = frame.parse_header(packed)
    block = frame.parse_block(packed, at)
    code = packed[block.start : block.end]
    assert np.frombuffer(code, ">u2").tolist() == tokenizer.encode(ENGLISH)


@pytest.mark.parametrize("model", ["counted", "eqinfo"])
def test_aligned_windows_end_before_words(model):
    tokenizer = Tokenizer(model, align="word")
    text = b"the cat, the dog and (perhaps) the bird"
    pieces = [tokenizer.id_to_bytes(i) for i in tokenizer.encode(text)]
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    # If a piece ends inside a word, no word began inside the piece.
    for piece, start in zip(pieces, starts, strict=True):
        end = start + len(piece)
        inside = end < len(text) and text[end - 1 : end].isalpha() and text[end : end + 1].isalpha()
        assert not inside or b" " not in piece[1:]


def begins_word(before, byte):
    """At the space before it, or where a letter, digit or byte from 128 on follows another kind."""
    spaces = b" \t\n\v\f\r"
    letters = (string.ascii_letters + string.digits).encode() + bytes(range(128, 256))
    if byte in spaces:
        return before not in spaces
    return byte in letters and before not in letters and before not in spaces


def test_aligned_windows_are_as_written_out_here():
    """The longest match, unless a word begins inside it: then it ends before the last such word."""
    aligned = Tokenizer("eqinfo", align="word")
    tokenizer = Tokenizer("eqinfo")
    known = set(tokenizer.vocabulary())
    plain = b"the cat, the dog and (perhaps) the bird"
    odd = b"x1 1x\rthe\x0bend (2nd-3rd) caf\xc3\xa9s\xff it's\t a  b\n\n" * 4
    spaced = sorted(entry for entry in known if len(entry) > 1 and set(entry) & set(b"\t\v\f\r"))
    assert spaced
    differ = 0
    for text in (
        plain,
        odd,
        b"a".join(spaced),
        ENGLISH,
        CODE,
        SCRIPTS,
        TEXTS["log"],
        TEXTS["random"][:500],
    ):
        pieces, at = [], 0
        while at < len(text):
            end = at + 1
            while end < len(text) and text[at : end + 1] in known:
                end += 1
            if end < len(text):
                places = range(at + 1, end + 1)
                words = [i for i in places if begins_word(text[i - 1], text[i])]
                end = words[-1] if words else end
            pieces.append(text[at:end])
            at = end
        assert [*map(aligned.id_to_bytes, aligned.encode(text))] == pieces
        differ += pieces != [*map(tokenizer.id_to_bytes, tokenizer.encode(text))]
    assert differ >= 5


def test_batches_equal_single_texts(tokenizer):
    texts = [ENGLISH.decode(), "", "x", SCRIPTS, RANDOM]
    single = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == single
    ended = [[*ids, tokenizer.eos_id] for ids in single]
    assert tokenizer.encode_batch(texts, add_eos=True) == ended
    assert [tokenizer.encode(text, add_eos=True) for text in texts] == ended
    assert tokenizer.decode_batch(ended[:1]) == texts[:1]


def test_special_tokens_are_numbers_only(tokenizer):
    assert tokenizer.vocab_size == 65536
    assert tokenizer.special_tokens == {name: 65520 + k for k, name in enumerate(SPECIAL_TOKENS)}
    assert max(tokenizer.encode("<|endoftext|>")) < 65520
    assert tokenizer.decode([*tokenizer.encode("ab"), 65520, 65535]) == "ab"
    assert tokenizer.id_to_bytes(65535) == b""
    for number in (65536, -1):
        with pytest.raises(ValueError, match="not a token"):
            tokenizer.decode([number])
        with pytest.raises(IndexError):
            tokenizer.id_to_bytes(number)
    with pytest.raises(KeyError):
        tokenizer.bytes_to_id(RANDOM)
    short = Tokenizer("eqinfo", window=12)
    assert short.special_tokens == {}
    with pytest.raises(ValueError, match="special"):
        short.encode("a", add_eos=True)


def test_arrow_columns(tokenizer):
    pa = pytest.importorskip("pyarrow")
    texts = ["", "one", None, "two words", SCRIPTS.decode()]
    for kind in (pa.string(), pa.large_string(), pa.binary()):
        column = pa.array(texts, pa.string()).cast(kind)
        for part, expected in ((column, texts), (column[1:4], texts[1:4]), (column[:0], [])):
            result = tokenizer.encode_arrow(part)
            assert result.type.value_type == pa.uint16()
            assert result.to_pylist() == [
                None if t is None else tokenizer.encode(t) for t in expected
            ]
    chunked = pa.chunked_array([["a b"], ["c"]])
    ended = tokenizer.encode_arrow(chunked, add_eos=True).to_pylist()
    assert ended == [tokenizer.encode(t, add_eos=True) for t in ("a b", "c")]


def test_pickles_are_small_and_stable(tokenizer):
    packed = pickle.dumps(tokenizer)
    assert len(packed) < 500
    assert pickle.dumps(Tokenizer(tokenizer.name)) == packed
    assert pickle.loads(packed).encode(ENGLISH) == tokenizer.encode(ENGLISH)


def test_saved_tokenizers_need_no_model(tmp_path, tokenizer):
    path = tmp_path / "t.json"
    tokenizer.save(path)
    script = (
        "import sys; from nzip.tokens import Tokenizer; from nzip import models;"
        "models.load = None; print(*Tokenizer.load(sys.argv[1]).encode('to be or not'))"
    )
    out = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True)
    assert [int(n) for n in out.stdout.split()] == tokenizer.encode("to be or not")
    content = json.loads(path.read_text())
    for key, value in (("format", "x"), ("window", 15), ("window", 99), ("dictionary", "AAAA")):
        path.write_text(json.dumps(content | {key: value}))
        with pytest.raises(errors.FormatError):
            Tokenizer.load(path)
    path.write_text("[]")
    with pytest.raises(errors.FormatError):
        Tokenizer.load(path)


def fewest(text: bytes, entries: set[bytes]) -> int:
    """The fewest strings that make up a text, by trying all."""
    best, longest = [0], max(map(len, entries))
    for end in range(1, len(text) + 1):
        starts = range(max(0, end - longest), end)
        best.append(1 + min(best[at] for at in starts if text[at:end] in entries))
    return best[-1]


@pytest.mark.parametrize("name", ["english", "code", "scripts", "random", "log", "empty"])
def test_lookahead_takes_the_fewest_tokens(name, tokenizer):
    ahead = Tokenizer(tokenizer.name, lookahead=True)
    text = ALL[name]
    ids = ahead.encode(text)
    assert ahead.decode_bytes(ids) == tokenizer.decode_bytes(ids) == text
    assert len(ids) == fewest(text, set(tokenizer.vocabulary()))
    assert len(ids) <= len(tokenizer.encode(text))
    assert ahead.encode_batch([text, text]) == [ids, ids]
    numbers, offsets = ahead.encode_with_offsets(text)
    assert (numbers, len(offsets)) == (ids, len(ids))
    assert pickle.loads(pickle.dumps(ahead)).encode(text) == ids


def test_lookahead_is_for_windows_that_are_not_aligned():
    with pytest.raises(ValueError, match="lookahead"):
        Tokenizer(align="word", lookahead=True)
    with pytest.raises(ValueError, match="lookahead"):
        tokenizations.EqInfo(models.load(models.WINDOWS), 32, 16, lookahead=True)


def corpus_of_words(size: int) -> list[bytes]:
    """Documents of invented words, a few of them frequent."""
    rng = random.Random(11)
    syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(3000)]
    weights = [1 / (k + 3) for k in range(len(words))]
    documents, left = [], size
    while left > 0:
        documents.append((" ".join(rng.choices(words, weights, k=400)) + ".\n").encode())
        left -= len(documents[-1])
    return documents


@pytest.mark.parametrize("align", [None, "word"])
def test_a_counted_dictionary_holds_more_than_any_other_texts(align):
    *documents, held_out = corpus_of_words(300_000)
    own = Tokenizer.train(documents, window=12, align=align)
    assert len(own.vocabulary()) == 4096
    entries = set(own.vocabulary())
    assert all(bytes([b]) in entries for b in range(256))
    assert all(entry[:-1] in entries for entry in entries if len(entry) > 1)
    other = Tokenizer("eqinfo", window=12, align=align)
    assert len(own.encode(held_out)) < 0.7 * len(other.encode(held_out))
    for text in ALL.values():
        assert own.decode_bytes(own.encode(text)) == text


def test_counting_is_the_same_again_and_for_any_cut_into_text_and_bytes():
    documents = corpus_of_words(60_000)
    first = Tokenizer.train(documents, window=11)
    again = Tokenizer.train((d.decode() for d in documents), window=11)
    assert first.vocabulary() == again.vocabulary()
    assert first.digest == again.digest
    assert Tokenizer.train(documents[::-1], window=11).vocabulary() == first.vocabulary()


@pytest.mark.parametrize("text", [b"a", b"ab" * 4000, bytes(range(256)), bytes(3000)])
def test_a_text_too_small_for_a_dictionary_is_filled_up(text):
    own = Tokenizer.train([b"", text], window=16)
    assert len(own.vocabulary()) == 65520
    for document in (text, ENGLISH, RANDOM):
        assert own.decode_bytes(own.encode(document)) == document


def test_what_cannot_be_counted_is_refused():
    for window in (7, 21):
        with pytest.raises(ValueError, match="8 to 20 bits"):
            Tokenizer.train([ENGLISH], window=window)
    with pytest.raises(ValueError, match="words"):
        Tokenizer.train([ENGLISH], align="words")
    for documents in ([], [b"", ""]):
        with pytest.raises(ValueError, match="no text"):
            Tokenizer.train(documents)


def test_of_a_large_corpus_pieces_are_counted_evenly():
    documents = [bytes([k % 256]) * (count.PIECE + 10) for k in range(100)]
    assert count.sample(documents, 10**9) == [
        part for d in documents for part in (d[: count.PIECE], d[count.PIECE :])
    ]
    few = count.sample(documents, 20 * count.PIECE)
    assert sum(map(len, few)) <= 20 * count.PIECE
    values = [piece[0] for piece in few]
    assert values[0] == 0
    assert len({b - a for a, b in itertools.pairwise(values)}) == 1
    assert values[-1] > 90


@pytest.mark.parametrize("align", [None, "word"])
def test_own_tokenizers_are_kept_and_exported(tmp_path, align):
    own = Tokenizer.train([ENGLISH * 30, CODE * 30], window=16, align=align, name="mine")
    own.save(tmp_path / "own.json")
    loaded = Tokenizer.load(tmp_path / "own.json")
    assert (loaded.name, loaded.align, loaded.window) == ("mine", align, 16)
    assert loaded.encode(CODE) == own.encode(CODE)
    assert pickle.loads(pickle.dumps(own)).encode(ENGLISH) == own.encode(ENGLISH)
    if align is None:
        tokenizers = pytest.importorskip("tokenizers")
        export.save_tokenizer_json(own, tmp_path / "tokenizer.json")
        fast = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        assert fast.encode(ENGLISH.decode()).ids == own.encode(ENGLISH)


@pytest.mark.slow
def test_a_vocabulary_is_trained_and_used_from_the_shell(tmp_path, nzip_cli):
    def ok(*args):
        done = nzip_cli(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = b"".join(corpus_of_words(40_000))
    (tmp_path / "text").write_bytes(text)
    ok("tokenize", "text", "--train", "-o", "own.json", "--align", "word")
    command = ("tokenize", "text", "--json", "-o")
    (row,) = json.loads(ok(*command, "t.bin", "--vocabulary", "own.json"))
    (released,) = json.loads(ok(*command, "r.bin"))
    assert row["tokens"] < released["tokens"]
    own = Tokenizer.load(tmp_path / "own.json")
    assert np.fromfile(tmp_path / "t.bin", "<u2").tolist() == own.encode(text, add_eos=True)
    (tmp_path / "own.json").rename(tmp_path / "elsewhere.json")
    ok("detokenize", "t.bin", "-o", "back")
    assert (tmp_path / "back").read_bytes() == text
    for args, reason in {
        ("text", "--train", "-o", "elsewhere.json"): b"exists",
        ("text", "--train", "-o", "own.bin"): b".json",
        ("text", "--train", "-o", "own.json", "--lookahead"): b"--train goes with",
        ("text", "-o", "o.bin", "--train-bytes", "5"): b"--train-bytes",
        ("text", "-o", "o.bin", "--vocabulary", "text"): b"not a tokenizer file",
        ("text", "-o", "o.bin", "--window", "24"): b"eqinfo",
        ("text", "-o", "o.bin", "--lookahead", "--align", "word"): b"lookahead",
    }.items():
        done = nzip_cli("tokenize", *args)
        assert done.returncode != 0
        assert reason in done.stderr
        assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "own.json").exists()
    assert not (tmp_path / "o.bin").exists()


def test_released_vocabularies_are_the_ones_that_are_named():
    for align, digest in dictionary.COUNTED.items():
        found, trie = dictionary.counted(align)
        assert found.hex() == digest == dictionary.own_digest(trie).hex()
    with pytest.raises(ValueError, match="eqinfo"):
        Tokenizer(window=12)


TOKENIZATIONS = {
    "counted": lambda: tokenizations.Vocabulary(Tokenizer()),
    "counted, bytes": lambda: tokenizations.Vocabulary(Tokenizer(), 8),
    "counted, words": lambda: tokenizations.Vocabulary(Tokenizer(align="word")),
    "counted, lookahead": lambda: tokenizations.Vocabulary(Tokenizer(lookahead=True)),
    "own": lambda: tokenizations.Vocabulary(Tokenizer.train([ENGLISH, CODE])),
    "own, 8 bits": lambda: tokenizations.Vocabulary(Tokenizer.train([ENGLISH], window=8), 8),
    "eqinfo 16, lookahead": lambda: tokenizations.EqInfo(
        models.load(models.WINDOWS), 16, 16, lookahead=True
    ),
    "eqinfo 16": lambda: tokenizations.EqInfo(models.load(models.WINDOWS), 16, 16),
    "eqinfo 16, bytes": lambda: tokenizations.EqInfo(models.load(models.WINDOWS), 16, 8),
    "eqinfo 32": lambda: tokenizations.EqInfo(models.load(models.WINDOWS), 32, 16),
    "eqinfo 24, every other": lambda: tokenizations.EqInfo(models.load(models.WINDOWS), 24, 8, 2),
    "eqinfo 48, carried": lambda: tokenizations.EqInfo(models.load(models.WINDOWS), 48, 16, 0),
    "eqinfo 16, words": lambda: tokenizations.EqInfo(
        models.load(models.WINDOWS), 16, 16, 1, "word"
    ),
    "ac": lambda: tokenizations.Ac(models.load(), 8),
    "ac, 16 bits": lambda: tokenizations.Ac(models.load(), 16),
    "static": lambda: tokenizations.Static(tokenizations.frequencies([ENGLISH, CODE])),
    "gzip": lambda: tokenizations.Gzip(16),
    "bytes": lambda: tokenizations.Bytes(),
}
DOCUMENTS = [ENGLISH, b"", b"x", CODE[:200], SCRIPTS, RANDOM[:700]]


@pytest.mark.parametrize("name", TOKENIZATIONS)
def test_every_tokenization_comes_back_from_its_settings(name):
    tokenization = TOKENIZATIONS[name]()
    assert tokenization.settings["tokenization"] in tokenizations.KINDS
    again = tokenizations.from_settings(json.loads(json.dumps(tokenization.settings)))
    for document in DOCUMENTS:
        tokens = tokenization.encode(document)
        assert again.encode(document) == tokens
        assert len(tokens) * 8 % tokenization.token_bits == 0
        assert again.decode(tokens, len(document)) == document


@pytest.mark.parametrize("suffix", tokenfile.SUFFIXES)
@pytest.mark.parametrize("eos", [False, True])
def test_files_of_tokens_come_back(tmp_path, suffix, eos):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    documents = DOCUMENTS[:1] if suffix == ".npy" else DOCUMENTS
    path = tmp_path / f"tokens{suffix}"
    with tokenfile.Writer(path, tokenizations.EqInfo(models.load(models.WINDOWS)), eos) as writer:
        for document in documents:
            writer.add(document)
    assert list(tokenfile.read_tokens(path).documents()) == documents
    assert writer.bytes == sum(map(len, documents))


def test_bin_and_index_are_as_their_readers_expect(tmp_path):
    path, tokenizer = tmp_path / "tokens.bin", Tokenizer("eqinfo")
    with tokenfile.Writer(
        path, tokenizations.EqInfo(models.load(models.WINDOWS)), eos=True
    ) as writer:
        for document in DOCUMENTS:
            writer.add(document)
    numbers = np.memmap(path, np.dtype("<u2"), "r")
    expected = tokenizer.encode_batch(DOCUMENTS, add_eos=True)
    assert numbers.tolist() == [i for ids in expected for i in ids]
    index = path.with_suffix(".idx").read_bytes()
    magic, version, kind, count, ends = struct.unpack_from("<9sQBQQ", index)
    assert (magic, version, kind) == (b"MMIDIDX\0\0", 1, 8)
    assert (count, ends) == (len(DOCUMENTS), len(DOCUMENTS) + 1)
    lengths = np.frombuffer(index, "<i4", count, 34)
    places = np.frombuffer(index, "<i8", count, 34 + 4 * count)
    assert lengths.tolist() == list(map(len, expected))
    assert places.tolist() == np.cumsum([0, *(2 * lengths[:-1])]).tolist()
    assert np.frombuffer(index, "<i8", ends, 34 + 12 * count).tolist() == list(range(ends))
    assert len(index) == 34 + 12 * count + 8 * ends


def test_npy_is_read_by_numpy(tmp_path):
    path, tokenizer = tmp_path / "tokens.npy", Tokenizer()
    with tokenfile.Writer(path, tokenizations.Vocabulary(Tokenizer())) as writer:
        writer.add(ENGLISH)
    array = np.load(path, mmap_mode="r")
    assert array.dtype == np.uint16
    assert array.tolist() == tokenizer.encode(ENGLISH)


def test_a_failed_tokenization_leaves_nothing(tmp_path):
    def fail():
        with tokenfile.Writer(tmp_path / "t.bin", tokenizations.Bytes()) as writer:
            writer.add(b"abc")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_hugging_face_tokenizers_give_the_same_numbers(tmp_path, tokenizer):
    tokenizers = pytest.importorskip("tokenizers")
    export.save_tokenizer_json(tokenizer, tmp_path / "tokenizer.json")
    fast = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert fast.get_vocab_size() == 65536
    rng = random.Random(3)
    hard = [
        "".join(chr(rng.choice((32, 45, 92, 94, 93, 10, 97, 233, 0x4E2D))) for _ in range(5000)),
        "".join(map(chr, range(1, 0xD800, 7))),
        " " * 3000 + "a" * 3000 + "\\" * 3000,
        (ENGLISH * 2000).decode(),  # 400 kB: with more than linear time it would not end
    ]
    for text in (*(t.decode() for t in (ENGLISH, CODE, SCRIPTS)), "a  b\n\n\tc", "\0\x01", *hard):
        ids = tokenizer.encode(text)
        assert fast.encode(text).ids == ids
        assert fast.decode(ids) == text
    assert fast.token_to_id("<|endoftext|>") == tokenizer.eos_id


def test_rwkv_vocabulary_gives_the_same_numbers(tmp_path, tokenizer):
    export.save_rwkv(tokenizer, tmp_path / "vocab.txt")
    entries = {}
    for line in (tmp_path / "vocab.txt").read_text("utf-8").splitlines():
        number, rest = line.split(" ", 1)
        written, size = rest.rsplit(" ", 1)
        text = ast.literal_eval(written)
        text = text.encode() if isinstance(text, str) else text
        assert len(text) == int(size)
        entries[text] = int(number)
    assert len(entries) == 65520
    longest = max(map(len, entries))
    for text in (ENGLISH, CODE, SCRIPTS, RANDOM[:500]):
        ids, at = [], 0
        while at < len(text):
            size = next(n for n in range(longest, 0, -1) if text[at : at + n] in entries)
            ids.append(entries[text[at : at + size]] - 1)
            at += size
        assert ids == tokenizer.encode(text)


def test_tokenizers_that_are_no_longest_match_are_not_exported():
    with pytest.raises(ValueError, match="longest match"):
        export.tokenizer_json(Tokenizer(align="word"))
    with pytest.raises(ValueError, match="longest match"):
        export.tokenizer_json(Tokenizer(lookahead=True))


@pytest.mark.slow
def test_transformers_load_and_pad_it(tmp_path, tokenizer):
    transformers = pytest.importorskip("transformers")
    export.to_transformers(tokenizer).save_pretrained(tmp_path)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [ENGLISH.decode(), "short", "  two\n\nlines\t", "naïve café, 日本語"]
    batch = auto(texts, padding=True)
    width = max(len(tokenizer.encode(text)) for text in texts)
    for ids, mask, text in zip(batch["input_ids"], batch["attention_mask"], texts, strict=True):
        own = tokenizer.encode(text)
        padding = width - len(own)
        assert (ids, mask) == (own + [auto.pad_token_id] * padding, [1] * len(own) + [0] * padding)
        assert auto.decode(own) == text
    assert auto.pad_token_id == tokenizer.special_tokens["<|pad|>"]
    assert auto.eos_token_id == tokenizer.eos_id
    spelled = "text that spells <|endoftext|> stays text"
    assert auto(spelled)["input_ids"] == tokenizer.encode(spelled)


@pytest.mark.slow
def test_datasets_map_it_in_processes_and_remember(tmp_path, monkeypatch, tokenizer):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    texts = [f"line {k} of the text" for k in range(40)]

    def tokenize(batch):
        return {"ids": tokenizer.encode_batch(batch["text"], add_eos=True)}

    data = datasets.Dataset.from_dict({"text": texts})
    mapped = data.map(tokenize, batched=True, num_proc=2)
    assert mapped["ids"][:] == tokenizer.encode_batch(texts, add_eos=True)
    # A map is cached under the hash of its function, and thus of the tokenizer in it.
    fingerprint = datasets.fingerprint.Hasher.hash
    assert fingerprint(tokenizer) == fingerprint(pickle.loads(pickle.dumps(tokenizer)))
    assert fingerprint(tokenizer) != fingerprint(Tokenizer(align="word"))
    assert fingerprint(tokenizer) != fingerprint(Tokenizer(lookahead=True))
