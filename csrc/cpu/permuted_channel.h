// The channel permutations of the grouped kernels.
#pragma once

namespace lucid {

// The channel of its group that lane l sees in permutation r. Over r = 0 .. group - 1 every lane sees each channel of
// its group once. Neighbouring lanes see the same channel, so that permutations 0 and 1 are the processor's
// "duplicate even / odd lanes" loads, which need no shuffle unit. Always inlined, as members of Conv2dShape are.
[[gnu::always_inline]] constexpr int permuted_channel(int group, int r, int l) {
  return group == 1 ? 0 : (((l % group) / 2) ^ (r / 2)) * 2 + r % 2;
}

}  // namespace lucid
