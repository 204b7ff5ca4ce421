// Eight bytes at a time, by a table for each of their places (Kounavis & Berry 2005): a byte at a time, the weights of
// a network would take longer to check than to read.
#include "core/crc32.h"

#include <array>

namespace lucid {
namespace {

constexpr size_t kSlices = 8;
using Tables = std::array<std::array<uint32_t, 256>, kSlices>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? 0xEDB88320u : 0u);
    tables[0][byte] = rest;
  }
  for (size_t slice = 1; slice < kSlices; ++slice)
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[slice - 1][byte];
      tables[slice][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

uint32_t crc32(const void* data, size_t bytes) {
  const auto* at = static_cast<const uint8_t*>(data);
  uint32_t rest = ~0u;
  for (; bytes >= kSlices; bytes -= kSlices, at += kSlices) {
    uint32_t mixed = 0;
    for (size_t i = 0; i < 4; ++i)
      mixed ^= kTables[kSlices - 1 - i][(at[i] ^ (rest >> (8 * i))) & 0xFF] ^ kTables[3 - i][at[4 + i]];
    rest = mixed;
  }
  for (; bytes > 0; --bytes, ++at) rest = (rest >> 8) ^ kTables[0][(rest ^ *at) & 0xFF];
  return ~rest;
}

}  // namespace lucid
