// The shape rule of each operator, which eager calls and plans ask: it checks shapes, dtypes and attributes on any
// device, reads no data, and gives the shape of the output. Each stands in ops/<op>.cpp; that of conv2d is in
// ops/conv2d.h.
#pragma once

#include "cpu/kernels.h"
#include "lucid.h"

namespace lucid {

lucid_status check_add(const lucid_add_args& args, lucid_shape* y);
lucid_status check_batch_norm(const lucid_batch_norm_args& args, lucid_shape* y);
lucid_status check_linear(const lucid_linear_args& args, lucid_shape* y);
lucid_status check_mul(const lucid_mul_args& args, lucid_shape* y);
lucid_status check_radix_sum_pool(const lucid_radix_sum_pool_args& args, lucid_shape* y);
lucid_status check_relu(const lucid_relu_args& args, lucid_shape* y);
lucid_status check_sigmoid(const lucid_sigmoid_args& args, lucid_shape* y);
lucid_status check_softmax(const lucid_softmax_args& args, lucid_shape* y);
lucid_status check_split_attention(const lucid_split_attention_args& args, lucid_shape* y);
// The part of it that its gradient has too: radix and cardinality are positive and divide the channels.
lucid_status check_splits(const char* op, long long channels, long long radix, long long cardinality);

// Those of pools also fill in the kernel's arguments, but for the memory.
lucid_status check_max_pool2d(const lucid_max_pool2d_args& args, MaxPool2d* pool, lucid_shape* y);
lucid_status check_avg_pool2d(const lucid_avg_pool2d_args& args, AvgPool2d* pool, lucid_shape* y);
lucid_status check_adaptive_avg_pool2d(const lucid_adaptive_avg_pool2d_args& args, AvgPool2d* pool, lucid_shape* y);

}  // namespace lucid
