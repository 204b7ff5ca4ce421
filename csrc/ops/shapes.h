// What operators require of shapes, and how their messages write one.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "lucid.h"

namespace lucid {

// "(2, 3, 4)", for %s.
class ShapeText {
 public:
  ShapeText(const int64_t* shape, int dims);
  const char* c_str() const { return text_; }

 private:
  char text_[192];  // eight dimensions of 19 digits
};

// The tensor, whose rank is checked already, has elements: an operator on nothing is a mistake of its caller.
lucid_status check_not_empty(const char* op, const char* name, const lucid_tensor& tensor);

// The tensor has this shape.
lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor, const int64_t* shape, int dims);
lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor,
                         std::initializer_list<int64_t> shape);

}  // namespace lucid
