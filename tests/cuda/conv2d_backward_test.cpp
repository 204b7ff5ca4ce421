// The gradients of conv2d by its input, weights and bias against float64, in the shapes of each kernel and around them.
#include <algorithm>

#include "kernel_test.h"

namespace {

using namespace kernel_test;
using lucid::cuda::Conv2dBackwardInput;
using lucid::cuda::Conv2dBackwardWeight;

struct Pair {
  int64_t h, w;
};
struct Sides {
  int64_t top, left, bottom, right;
};

struct Case {
  int64_t n;
  Pair size;
  int64_t groups, in_group, out_group;
  Pair kernel, stride{1, 1};
  Sides padding{0, 0, 0, 0};
  Pair dilation{1, 1};

  Conv2dShape shape() const {
    const int64_t across = dilation.w * (kernel.w - 1) + 1, down = dilation.h * (kernel.h - 1) + 1;
    return {n,
            size.h,
            size.w,
            groups,
            in_group,
            out_group,
            kernel.h,
            kernel.w,
            (size.h + padding.top + padding.bottom - down) / stride.h + 1,
            (size.w + padding.left + padding.right - across) / stride.w + 1,
            stride.h,
            stride.w,
            padding.top,
            padding.left,
            padding.bottom,
            padding.right,
            dilation.h,
            dilation.w};
  }
};

constexpr Sides kAround{1, 1, 1, 1};

std::string name_of(const Case& c) {
  return text_of("%dx%dx%d, %d x (%d -> %d), kernel %dx%d, stride %d,%d, padding %d,%d,%d,%d, dilation %d,%d", int(c.n),
                 int(c.size.h), int(c.size.w), int(c.groups), int(c.in_group), int(c.out_group), int(c.kernel.h),
                 int(c.kernel.w), int(c.stride.h), int(c.stride.w), int(c.padding.top), int(c.padding.left),
                 int(c.padding.bottom), int(c.padding.right), int(c.dilation.h), int(c.dilation.w));
}

// Calls product(index of x, of dy, of the weight) for every product of the convolution.
template <class Product>
void each_product(const Conv2dShape& s, Product product) {
  for (int64_t row = 0; row < s.n * s.out_h * s.out_w; ++row)
    for (int64_t tap = 0; tap < s.taps(); ++tap) {
      const int64_t image = row / s.out_w / s.out_h;
      const int64_t y = row / s.out_w % s.out_h * s.stride_h - s.padding_top + tap / s.kernel_w * s.dilation_h;
      const int64_t x = row % s.out_w * s.stride_w - s.padding_left + tap % s.kernel_w * s.dilation_w;
      if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
      const int64_t pixel = (image * s.h + y) * s.w + x;
      for (int64_t o = 0; o < s.out_channels(); ++o)
        for (int64_t c = 0; c < s.in_group; ++c)
          product(pixel * s.in_channels() + o / s.out_group * s.in_group + c, row * s.out_channels() + o,
                  (o * s.in_group + c) * s.taps() + tap);
    }
}

std::string name_of(const Case& c, Dtype dtype, size_t shift) {
  return std::string(kernel_test::name_of(dtype)) + " " + name_of(c) + (shift ? ", shifted" : "");
}

// Every array begins `shift` elements behind an address that suits vectors.
void test_input(const Case& c, Dtype dtype, size_t shift = 0) {
  const Conv2dShape s = c.shape();
  const Array dy(dtype, random_values(s.n * s.out_h * s.out_w * s.out_channels(), 2), shift);
  const Array weight(dtype, random_values(s.out_channels() * s.terms(), 3), shift);
  std::vector<Value> want(s.n * s.h * s.w * s.in_channels());
  each_product(s, [&](int64_t i, int64_t j, int64_t k) { want[i].add(dy.at(j) * weight.at(k)); });
  const Array dx(dtype, want.size(), shift);
  Conv2dBackwardInput p{s, dtype, dy.data(), weight.data(), dx.data(), nullptr};
  const Array workspace(std::max<size_t>(1, backend().conv2d_backward_input_bytes(p)));
  p.workspace = workspace.data();
  // A sum of n terms has n - 1 additions, and a product is rounded at most once.
  check(name_of(c, dtype, shift) + ": dx", {&dy, &weight, &dx, &workspace},
        [&] { return backend().conv2d_backward_input(p, nullptr); },
        {{dx, want, static_cast<double>(s.out_group * s.taps())}});
}

// Returns the bytes of dweight.
auto test_weight(const Case& c, Dtype dtype, size_t shift = 0) {
  const Conv2dShape s = c.shape();
  const int64_t pixels = s.n * s.out_h * s.out_w;
  const Array x(dtype, random_values(s.n * s.h * s.w * s.in_channels(), 1), shift);
  const Array dy(dtype, random_values(pixels * s.out_channels(), 2), shift);
  std::vector<Value> want(s.out_channels() * s.terms()), want_bias(s.out_channels());
  each_product(s, [&](int64_t i, int64_t j, int64_t k) { want[k].add(dy.at(j) * x.at(i)); });
  for (size_t j = 0; j < dy.size(); ++j) want_bias[j % s.out_channels()].add(dy.at(j));
  const Array dweight(dtype, want.size(), shift), dbias(Dtype::kFloat32, want_bias.size());
  Conv2dBackwardWeight p{s, dtype, x.data(), dy.data(), dweight.data(), dbias.floats(), nullptr};
  const Array workspace(backend().conv2d_backward_weight_bytes(p));
  p.workspace = workspace.data();
  const double terms = static_cast<double>(pixels);
  check(name_of(c, dtype, shift) + ": dweight, dbias", {&x, &dy, &dweight, &dbias, &workspace},
        [&] { return backend().conv2d_backward_weight(p, nullptr); },
        {{dweight, want, terms}, {dbias, want_bias, terms}});
  return dweight.contents();
}

void test_gradients(const Case& c, size_t shift = 0) {
  for (Dtype dtype : kDtypes) test_input(c, dtype, shift), test_weight(c, dtype, shift);
}

}  // namespace

KERNEL_TEST(conv2d_backward_grouped3x3) {
  for (int64_t channels : {4, 8, 16, 32})
    for (int64_t stride : {1, 2})
      test_gradients({1, {5, 8}, channels < 16 ? 3 : 2, channels, channels, {3, 3}, {stride, stride}, kAround});
  for (int64_t channels : {24, 48}) test_gradients({1, {4, 5}, 2, channels, channels, {3, 3}, {1, 1}, kAround});
  for (int64_t channels : {40, 64}) test_gradients({1, {4, 5}, 2, channels, channels, {3, 3}, {2, 2}, kAround});
}

// Padding on each side alone, even and odd sizes: each phase of a stride sees other taps.
KERNEL_TEST(conv2d_backward_grouped3x3_padding) {
  for (int64_t stride : {1, 2}) {
    test_gradients({1, {8, 17}, 2, 4, 8, {3, 3}, {stride, stride}, {0, 1, 1, 0}});
    test_gradients({2, {9, 6}, 3, 8, 4, {3, 3}, {stride, stride}, {2, 0, 3, 1}});
    test_gradients({1, {5, 5}, 2, 4, 4, {3, 3}, {stride, stride}, {0, 0, 0, 0}});
    test_gradients({1, {3, 4}, 2, 4, 4, {3, 3}, {stride, stride}, {4, 5, 3, 6}});
  }
}

// More strips, windows of channels and parts of rows than a block has.
KERNEL_TEST(conv2d_backward_grouped3x3_blocks) {
  test_gradients({2, {13, 17}, 18, 4, 4, {3, 3}, {1, 1}, kAround});
  test_gradients({4, {24, 5}, 2, 4, 4, {3, 3}, {1, 1}, kAround});
  test_gradients({1, {40, 30}, 2, 4, 4, {3, 3}, {2, 2}, kAround});
  test_gradients({3, {25, 3}, 3, 8, 8, {3, 3}, {1, 1}, kAround});
}

// Rows in tiles, several tiles of a block, and a row that is too long for a tile.
KERNEL_TEST(conv2d_backward_grouped3x3_rows) {
  for (Dtype dtype : {Dtype::kFloat16, Dtype::kBfloat16})
    for (int64_t stride : {1, 2}) {
      test_input({2, {19, 13}, 2, 16, 16, {3, 3}, {stride, stride}, kAround}, dtype);
      test_input({1, {11, 22}, 1, 32, 32, {3, 3}, {stride, stride}, {0, 2, 1, 1}}, dtype);
      test_input({1, {2, 140}, 1, 16, 16, {3, 3}, {stride, stride}, kAround}, dtype);
    }
  test_input({3, {9, 9}, 86, 16, 16, {3, 3}, {2, 2}, kAround}, Dtype::kFloat16);
}

// What looks like the grouped kernel's, and is not.
KERNEL_TEST(conv2d_backward_grouped_others) {
  test_gradients({1, {8, 8}, 2, 8, 8, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}});
  test_gradients({1, {9, 9}, 2, 16, 16, {3, 3}, {1, 2}, kAround});
  test_gradients({1, {11, 10}, 2, 8, 8, {3, 3}, {3, 3}, kAround, {2, 3}});
  test_gradients({1, {6, 6}, 5, 1, 1, {3, 3}, {1, 1}, kAround});
  test_gradients({1, {5, 6}, 3, 6, 5, {3, 3}, {1, 1}, kAround});
  test_gradients({2, {4, 5}, 2, 3, 2, {2, 3}, {1, 2}, {1, 0, 0, 2}, {1, 2}});
}

KERNEL_TEST(conv2d_backward_1x1) {
  test_gradients({2, {5, 7}, 1, 64, 128, {1, 1}});
  test_gradients({1, {7, 7}, 1, 24, 72, {1, 1}, {2, 2}});
  test_gradients({1, {6, 5}, 1, 17, 19, {1, 1}});
  test_gradients({1, {9, 8}, 1, 72, 136, {1, 1}});
  test_gradients({3, {32, 23}, 1, 8, 8, {1, 1}});  // more parts than threads that add them up
  test_gradients({1, {3, 3}, 1, 8, 8, {1, 1}, {5, 5}});
  test_gradients({1, {1, 1}, 1, 4, 4, {1, 1}});
  test_gradients({3, {1, 1}, 2, 16, 8, {1, 1}});
}

KERNEL_TEST(conv2d_backward_dense) {
  test_gradients({1, {15, 14}, 1, 3, 32, {7, 7}, {2, 2}, {3, 3, 3, 3}});
  test_gradients({1, {13, 13}, 1, 3, 40, {3, 3}, {2, 2}, kAround});
  test_gradients({1, {8, 7}, 1, 32, 64, {3, 3}, {1, 1}, kAround});
  test_gradients({1, {5, 6}, 1, 20, 12, {3, 2}, {2, 1}, {0, 1, 2, 0}});
}

// Views may begin anywhere.
KERNEL_TEST(conv2d_backward_unaligned) {
  for (size_t shift : {1, 2}) {
    test_gradients({1, {7, 6}, 2, 4, 4, {3, 3}, {1, 1}, kAround}, shift);
    test_gradients({1, {5, 5}, 2, 16, 16, {3, 3}, {2, 2}, kAround}, shift);
    test_gradients({1, {4, 5}, 1, 64, 72, {1, 1}}, shift);
  }
}

// Where a view begins decides how it is loaded, and not in which order dweight is summed.
KERNEL_TEST(conv2d_backward_weight_of_views) {
  for (const Case& c :
       {Case{2, {7, 6}, 2, 4, 8, {3, 3}, {1, 1}, kAround}, Case{2, {9, 5}, 2, 8, 8, {3, 3}, {2, 2}, kAround},
        Case{1, {5, 5}, 2, 16, 16, {3, 3}, {1, 1}, kAround}, Case{3, {9, 8}, 1, 24, 32, {1, 1}}})
    for (Dtype dtype : kDtypes)
      check_that(name_of(c, dtype, 1) + ": other bits of dweight", test_weight(c, dtype) == test_weight(c, dtype, 1));
}
