"""Write nzip/kernel/tables.h from the definitions in nzip/reference.py."""

from pathlib import Path

from nzip import reference

TARGET = Path(__file__).parents[1] / "nzip" / "kernel" / "tables.h"


def array(kind: str, name: str, values: list[int]) -> str:
    """A C array, with 16 values per line."""
    lines = [", ".join(map(str, values[i : i + 16])) for i in range(0, len(values), 16)]
    return f"static const {kind} {name}[{len(values)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def render() -> str:
    """The text of tables.h."""
    following, counts, chances = reference.history_tables()
    sigmoid = ",\n".join(f"{{{', '.join(map(str, row))}}}" for row in reference.SIGMOID)
    pad = [[0, 0]] * (256 - len(following))
    pairs = ",\n".join(f"{{{a}, {b}}}" for a, b in following + pad)
    return "\n".join(
        [
            "/* Made by tools/make_tables.py from nzip/reference.py; part of the format. */",
            "/* clang-format off */",
            "#ifndef NZ_TABLES_H\n#define NZ_TABLES_H\n\n#include <stdint.h>\n",
            f"static const int16_t nz_sigmoid[4][8] = {{\n{sigmoid}\n}};\n",
            array("int16_t", "nz_rsqrt", reference.rsqrt_table()),
            array("uint16_t", "nz_squash", reference.squash_table()),
            array("int16_t", "nz_stretch", reference.stretch_table()),
            array("uint16_t", "nz_reciprocal", reference.reciprocal_table()),
            f"static const uint8_t nz_state_next[256][2] = {{\n{pairs}\n}};\n",
            array("uint8_t", "nz_state_count", counts + [0] * len(pad)),
            array("uint16_t", "nz_state_p", chances + [32768] * len(pad)),
            "#endif\n",
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(render())
