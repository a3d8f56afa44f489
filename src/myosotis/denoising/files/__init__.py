"""Files of symbols: bilevel images, DNA, text and arrays; read with checks, written whole or not at all."""
