#include "core/shape_text.h"

#include <cstdio>

namespace lucid {

ShapeText::ShapeText(const int64_t* shape, int dims) {
  int at = std::snprintf(text_, sizeof text_, "(");
  for (int d = 0; d < dims; ++d)
    at += std::snprintf(text_ + at, sizeof text_ - at, d == 0 ? "%lld" : ", %lld", static_cast<long long>(shape[d]));
  std::snprintf(text_ + at, sizeof text_ - at, dims == 1 ? ",)" : ")");
}

}  // namespace lucid
