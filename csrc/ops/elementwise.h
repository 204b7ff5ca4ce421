// Functions of one or two tensors of the same shape, element by element: any shape of up to 8 dimensions, any strides.
#pragma once

#include "cpu/kernels.h"
#include "cuda/backend.h"
#include "lucid.h"

namespace lucid {

// The shape rule: y has the shape of x.
lucid_status check_elementwise(const char* op, const lucid_tensor* x, lucid_shape* y);

// The output may be the memory of an operand, if it has the same strides.
lucid_status check_in_place(const char* op, const char* name, const lucid_tensor& operand, const lucid_tensor& y,
                            const char* output = "y");

// Runs a kernel on checked operands of one shape; `cost` is how many floats could be moved while it computes one.
void run_elementwise(const lucid_tensor& a, const lucid_tensor& b, const lucid_tensor& y,
                     void (*kernel)(const Elementwise&, int64_t, int64_t), int64_t cost = 1);
lucid_status run_elementwise_on_cuda(const char* op, cuda::ElementwiseFunction function, const lucid_tensor& a,
                                     const lucid_tensor& b, const lucid_tensor& y, const lucid_context* context);

// The gradient of a function of one argument, of dy and what it gave: the shape rule, and the call.
lucid_status check_elementwise_backward(const char* op, const lucid_tensor* dy, const lucid_tensor* y, lucid_shape* dx);
lucid_status run_elementwise_backward(const char* op, const lucid_tensor* dy, const lucid_tensor* y,
                                      const lucid_tensor* dx, const lucid_context* context,
                                      void (*kernel)(const Elementwise&, int64_t, int64_t),
                                      cuda::ElementwiseFunction function);

}  // namespace lucid
