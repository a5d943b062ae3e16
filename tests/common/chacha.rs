//! ChaCha from RFC 8439 with any number of rounds, a 64-bit block counter in words 12 and 13 and a 64-bit stream in words 14
//! and 15; and the expansion of a 64-bit seed to a key by PCG32, as `rand_core` 0.9 documents it for `seed_from_u64`.
//!
//! Written for the tests, from the documents alone, to have a second opinion on every seeded number.

/// The quarter round, RFC 8439 section 2.1.
pub fn quarter_round(state: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        state[x] = state[x].wrapping_add(state[y]);
        state[z] = (state[z] ^ state[x]).rotate_left(turn);
    }
}

/// The block function, RFC 8439 section 2.3, on a given initial state.
pub fn block(initial: &[u32; 16], rounds: u32) -> [u32; 16] {
    let mut state = *initial;
    for _ in 0..rounds / 2 {
        for column in 0..4 {
            quarter_round(&mut state, column, column + 4, column + 8, column + 12);
        }
        for (a, b, c, d) in [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)] {
            quarter_round(&mut state, a, b, c, d);
        }
    }
    for (word, start) in state.iter_mut().zip(initial) {
        *word = word.wrapping_add(*start);
    }
    state
}

/// The initial state: "expand 32-byte k", the key, the counter, the stream.
pub fn initial(key: &[u32; 8], counter: u64, stream: u64) -> [u32; 16] {
    let mut state = [0; 16];
    for (word, text) in state.iter_mut().zip([b"expa", b"nd 3", b"2-by", b"te k"]) {
        *word = u32::from_le_bytes(*text);
    }
    state[4..12].copy_from_slice(key);
    state[12] = counter as u32;
    state[13] = (counter >> 32) as u32;
    state[14] = stream as u32;
    state[15] = (stream >> 32) as u32;
    state
}

/// The key of a seed: eight outputs of PCG32 (XSH-RR 64/32), each after advancing the state.
pub fn key_of_seed(seed: u64) -> [u32; 8] {
    let mut state = seed;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(11_634_580_027_462_260_723);
        let xorshifted = (((state >> 18) ^ state) >> 27) as u32;
        xorshifted.rotate_right((state >> 59) as u32)
    })
}

/// Word number `position` of the ChaCha8 stream of a seed.
pub fn word(seed: u64, stream: u64, position: u128) -> u32 {
    let counter = u64::try_from(position / 16).expect("a 64-bit counter");
    block(&initial(&key_of_seed(seed), counter, stream), 8)[(position % 16) as usize]
}

/// The uniform number on `[0, 1)` of two consecutive words, the low one first: the upper 53 bits of 64.
pub fn uniform(seed: u64, stream: u64, position: u128) -> f64 {
    let low = u64::from(word(seed, stream, position));
    let high = u64::from(word(seed, stream, position + 1));
    ((high << 32 | low) >> 11) as f64 / (1u64 << 53) as f64
}
