// CRC-32 as zlib and PNG have it: polynomial 0xEDB88320 of reflected bits (ISO 3309).
#pragma once

#include <cstddef>
#include <cstdint>

namespace lucid {

uint32_t crc32(const void* data, size_t bytes);

}  // namespace lucid
