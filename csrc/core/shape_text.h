// How messages write a shape: "(2, 3, 4)".
#pragma once

#include <cstdint>

namespace lucid {

// ShapeText(shape, dims).c_str() for %s.
class ShapeText {
 public:
  ShapeText(const int64_t* shape, int dims);
  const char* c_str() const { return text_; }

 private:
  char text_[192];  // eight dimensions of 19 digits
};

}  // namespace lucid
