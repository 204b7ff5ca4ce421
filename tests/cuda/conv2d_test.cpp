// The forward convolution: every algorithm that accepts a shape, against sums in float64.
#include <algorithm>
#include <cmath>
#include <utility>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t n, h, w, groups, in, out, kernel_h, kernel_w, stride, padding, dilation = 1;

  Conv2dShape shape() const {
    Conv2dShape s{n, h,      w,      groups,  in,      out,     kernel_h, kernel_w, 0,
                  0, stride, stride, padding, padding, padding, padding,  dilation, dilation};
    s.out_h = (h + 2 * padding - dilation * (kernel_h - 1) - 1) / stride + 1;
    s.out_w = (w + 2 * padding - dilation * (kernel_w - 1) - 1) / stride + 1;
    return s;
  }
};

// Every kind of layer of the networks, as small as it goes, and shapes that fit no tile.
constexpr Case kCases[] = {
    {2, 5, 7, 1, 16, 24, 1, 1, 1, 0},     // 1x1
    {1, 9, 8, 1, 40, 36, 1, 1, 2, 0},     // with a stride, and a last tile that is not full
    {2, 1, 1, 1, 80, 70, 1, 1, 1, 0},     // of one pixel
    {1, 9, 11, 1, 3, 16, 7, 7, 2, 3},     // the stem
    {1, 7, 9, 1, 3, 18, 3, 3, 2, 1},      // that of a deep stem
    {1, 7, 6, 1, 17, 19, 3, 3, 1, 1},     // dense 3x3 of odd channels
    {1, 9, 9, 1, 24, 40, 3, 3, 1, 2, 2},  // dilated
    {1, 7, 6, 2, 5, 7, 3, 2, 1, 1},       // groups that fill no vector
    {3, 3, 4, 3, 1, 1, 3, 3, 1, 1},       // one channel a group
    {1, 4, 4, 2, 8, 4, 3, 3, 1, 3},       // windows in the padding
    {1, 11, 13, 5, 16, 32, 3, 3, 1, 1},   // groups that do not fill a slab, and fewer inputs than outputs
    {1, 12, 12, 3, 64, 12, 3, 3, 2, 1},   // and more
    {1, 5, 6, 3, 20, 12, 3, 3, 1, 1},     // groups that fill neither a fragment nor a vector
    {1, 40, 3, 9, 4, 4, 3, 3, 2, 1},      // and one below the other
    {1, 6, 5, 9, 8, 12, 3, 3, 1, 1},      // groups that fill half a fragment, and a last slab of one
    {1, 5, 5, 33, 4, 8, 3, 3, 1, 0},      // blocks of channels of which the last has few
};

struct Operands {
  Conv2dShape shape;
  Dtype dtype;
  Array x, weight, bias, residual;
  std::vector<Value> sums;  // without bias and residual
  bool tf32 = false;

  Operands(const Conv2dShape& s, Dtype type, size_t shift = 0)
      : shape(s),
        dtype(type),
        x(type, random_values(s.n * s.h * s.w * s.in_channels(), 1), shift),
        weight(type, random_values(s.out_channels() * s.terms(), 2)),
        bias(Dtype::kFloat32, random_values(s.out_channels(), 3)),
        residual(type, random_values(s.out_rows() * s.out_w * s.out_channels(), 4), shift),
        sums(residual.size()) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = sum(static_cast<int64_t>(i));
  }

  Value sum(int64_t at) const {
    const Conv2dShape& s = shape;
    const int64_t k = at % s.out_channels(), pixel = at / s.out_channels();
    const int64_t n = pixel / s.out_w / s.out_h, i = pixel / s.out_w % s.out_h, j = pixel % s.out_w;
    Value value;
    for (int64_t a = 0; a < s.kernel_h; ++a)
      for (int64_t b = 0; b < s.kernel_w; ++b) {
        const int64_t h = i * s.stride_h - s.padding_top + a * s.dilation_h;
        const int64_t w = j * s.stride_w - s.padding_left + b * s.dilation_w;
        if (h < 0 || w < 0 || h >= s.h || w >= s.w) continue;
        const int64_t first = ((n * s.h + h) * s.w + w) * s.in_channels() + k / s.out_group * s.in_group;
        for (int64_t c = 0; c < s.in_group; ++c)
          value.add(x.at(static_cast<size_t>(first + c)) *
                    weight.at(static_cast<size_t>(((k * s.in_group + c) * s.kernel_h + a) * s.kernel_w + b)));
      }
    return value;
  }
};

struct Epilogue {
  bool bias, residual, relu;
};
constexpr Epilogue kEpilogues[] = {{true, false, true},  {true, true, true},   {false, false, false},
                                   {false, true, false}, {true, false, false}, {false, true, true}};

// y; where there is a residual, in its memory.
void run(const std::string& name, const Operands& o, const std::string& algorithm, const Epilogue& epilogue,
         const Array& y) {
  lucid::cuda::Conv2dPack pack{.shape = o.shape,
                               .dtype = o.dtype,
                               .algorithm = algorithm.c_str(),
                               .tf32 = o.tf32,
                               .weight = o.weight.data(),
                               .packed = nullptr};
  const Array packed(backend().conv2d_packed_bytes(pack));
  pack.packed = packed.data();
  const Array& out = epilogue.residual ? o.residual : y;
  const lucid::cuda::Conv2d arguments{.shape = o.shape,
                                      .dtype = o.dtype,
                                      .algorithm = algorithm.c_str(),
                                      .tf32 = o.tf32,
                                      .x = o.x.data(),
                                      .packed = packed.data(),
                                      .bias = epilogue.bias ? o.bias.floats() : nullptr,
                                      .residual = epilogue.residual ? o.residual.data() : nullptr,
                                      .relu = epilogue.relu,
                                      .y = out.data()};
  // Both factors of a product lose all but 11 bits.
  const bool rounds = algorithm.find("tf32") != std::string::npos;
  std::vector<Value> want = o.sums;
  for (size_t i = 0; i < want.size(); ++i) {
    if (epilogue.bias) want[i].add(o.bias.at(i % o.bias.size()));
    if (epilogue.residual) want[i].add(o.residual.at(i));
    if (epilogue.relu && want[i].value < 0.0) want[i].value = 0.0;
  }
  const auto kernel = [&] {
    const Error error = backend().conv2d_pack(pack, nullptr);
    return error != 0 ? error : backend().conv2d(arguments, nullptr);
  };
  check(algorithm + ", " + name, {&o.x, &o.weight, &o.bias, &packed, &out}, kernel,
        {{out, want, static_cast<double>(o.shape.terms() + 3), rounds ? 0x1p-10 : 0.0}});
}

std::vector<std::string> algorithms(const Conv2dShape& shape, Dtype dtype, bool tf32 = false) {
  std::vector<std::string> names;
  const std::string list = backend().conv2d_algorithms(shape, dtype, tf32);
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    names.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

// Whether an algorithm is one tile of another that chooses it.
bool is_tile(const std::string& algorithm) {
  return algorithm.find("gemm_") != std::string::npos && algorithm.find("tf32") == std::string::npos;
}

std::string text_of(const Conv2dShape& s, Dtype dtype) {
  return kernel_test::text_of("%dx%dx%d, %d groups of %d and %d, %dx%d by %d, %s", static_cast<int>(s.n),
                              static_cast<int>(s.h), static_cast<int>(s.w), static_cast<int>(s.groups),
                              static_cast<int>(s.in_group), static_cast<int>(s.out_group), static_cast<int>(s.kernel_h),
                              static_cast<int>(s.kernel_w), static_cast<int>(s.stride_h), name_of(dtype));
}

void run_all(const Conv2dShape& shape, const Epilogue& epilogue) {
  for (const Dtype dtype : kDtypes) {
    const Operands operands(shape, dtype);
    const Array y(dtype, operands.sums.size());
    for (const std::string& algorithm : algorithms(shape, dtype))
      if (!is_tile(algorithm)) run(text_of(shape, dtype), operands, algorithm, epilogue, y);
  }
}

void run_best(const Conv2dShape& shape, Dtype dtype, const Epilogue& epilogue) {
  const Operands operands(shape, dtype);
  const Array y(dtype, operands.sums.size());
  run(text_of(shape, dtype), operands, algorithms(shape, dtype).front(), epilogue, y);
}

}  // namespace

KERNEL_TEST(conv2d) {
  for (size_t i = 0; i < std::size(kCases); ++i) run_all(kCases[i].shape(), kEpilogues[i % std::size(kEpilogues)]);
}

// The grouped convolutions of both families, of odd sizes.
KERNEL_TEST(conv2d_grouped) {
  size_t number = 0;
  for (const int64_t channels : {4, 8, 16, 24, 32, 40, 48, 64})
    for (const int64_t stride : {1, 2})
      run_all(Case{1, 7, 9, 2, channels, channels, 3, 3, stride, 1}.shape(),
              kEpilogues[number++ % std::size(kEpilogues)]);
  run_all(Case{1, 2, 133, 2, 16, 16, 3, 3, 1, 1}.shape(), kEpilogues[0]);  // tiles side by side
}

// One image to five, of which some blocks of grouped_tensor_3x3 have two, and the last none or one.
KERNEL_TEST(conv2d_grouped_images) {
  for (int64_t n = 1; n <= 5; ++n)
    for (const int64_t stride : {1, 2})
      for (const Dtype dtype : kDtypes)
        if (dtype != Dtype::kFloat32)
          run_best(Case{n, 7, 7, 8, 32, 32, 3, 3, stride, 1}.shape(), dtype,
                   kEpilogues[static_cast<size_t>(n) % std::size(kEpilogues)]);
}

// One step, several, and more tiles than one on every side; terms in units of eight, four, an image's three and one.
KERNEL_TEST(conv2d_tiles) {
  for (const Case& p :
       {Case{1, 3, 5, 1, 16, 20, 1, 1, 1, 0}, Case{1, 16, 15, 1, 40, 136, 1, 1, 1, 0},
        Case{1, 5, 4, 2, 12, 33, 3, 3, 1, 1}, Case{1, 5, 4, 1, 3, 18, 3, 3, 1, 1}, Case{1, 3, 4, 1, 5, 18, 2, 2, 1, 0}})
    for (const Dtype dtype : kDtypes) {
      const Operands operands(p.shape(), dtype);
      const Array y(dtype, operands.sums.size());
      for (const std::string& algorithm : algorithms(p.shape(), dtype))
        if (is_tile(algorithm)) run(text_of(p.shape(), dtype), operands, algorithm, {true, false, true}, y);
    }
}

// x, residual and y where no vector of several elements may be loaded, and every epilogue.
KERNEL_TEST(conv2d_epilogues) {
  for (const size_t shift : {0, 1})
    for (const Case& p : {Case{1, 4, 5, 2, 16, 16, 3, 3, 1, 1}, Case{1, 4, 5, 2, 8, 16, 3, 3, 2, 1}})
      for (const Dtype dtype : kDtypes) {
        const Operands operands(p.shape(), dtype, shift);
        const Array y(dtype, operands.sums.size(), shift);
        for (const Epilogue& epilogue : kEpilogues)
          for (const std::string& algorithm : algorithms(p.shape(), dtype))
            if (!is_tile(algorithm))
              run(text_of("shifted by %zu, %s", shift, name_of(dtype)), operands, algorithm, epilogue, y);
      }
}

// An image has the same bits alone as in a batch, where it lies in other tiles and other rows of them.
KERNEL_TEST(conv2d_batch) {
  for (const Case& p : {Case{3, 5, 7, 1, 24, 40, 1, 1, 1, 0}, Case{3, 5, 7, 2, 16, 16, 3, 3, 1, 1},
                        Case{2, 7, 7, 8, 32, 32, 3, 3, 1, 1}, Case{3, 7, 7, 8, 32, 32, 3, 3, 1, 1}})
    for (const Dtype dtype : kDtypes) {
      const Operands all(p.shape(), dtype);
      Conv2dShape shape = p.shape();
      shape.n = 1;
      Operands one(shape, dtype);
      const size_t skipped = all.x.size() - one.x.size();
      for (size_t i = 0; i < one.x.size(); ++i) one.x.set(i, all.x.at(skipped + i));
      for (size_t i = 0; i < one.sums.size(); ++i) one.sums[i] = one.sum(static_cast<int64_t>(i));
      const Array many(dtype, all.sums.size()), single(dtype, one.sums.size());
      for (const std::string& algorithm : algorithms(shape, dtype)) {
        if (is_tile(algorithm)) continue;
        run("all images", all, algorithm, {true, false, false}, many);
        run("the last of them", one, algorithm, {true, false, false}, single);
        const auto bits = many.contents(), last = single.contents();
        check_that(algorithm + ", " + name_of(dtype) + ": an image depends on the batch",
                   std::equal(last.begin(), last.end(), bits.end() - static_cast<int64_t>(last.size())));
      }
    }
}

// What is no number stays one, in the windows that see it and nowhere else.
KERNEL_TEST(conv2d_not_a_number) {
  for (const auto& [channels, outputs] : {std::pair{8, 8}, {8, 16}, {16, 16}, {20, 16}})
    for (const Dtype dtype : kDtypes) {
      const Conv2dShape shape = Case{1, 6, 7, 3, channels, outputs, 3, 3, 1, 1}.shape();
      Operands operands(shape, dtype);
      operands.x.set(static_cast<size_t>(shape.in_channels() * 9 + 20), NAN);
      operands.x.set(static_cast<size_t>(shape.in_channels() * 30 + 2 * channels), INFINITY);
      for (size_t i = 0; i < operands.sums.size(); ++i) operands.sums[i] = operands.sum(static_cast<int64_t>(i));
      const Array y(dtype, operands.sums.size());
      for (const std::string& algorithm : algorithms(shape, dtype))
        if (!is_tile(algorithm)) run("with a NaN", operands, algorithm, {true, false, true}, y);
    }
}

// A weight that is no number reaches its channel and no other one, nor the zeros that fill up packed weights.
KERNEL_TEST(conv2d_weights_not_a_number) {
  constexpr int64_t kChannels[] = {5, 20};
  for (const Case& p : {Case{1, 5, 6, 1, 3, 36, 3, 3, 1, 0}, Case{1, 4, 5, 3, 12, 20, 1, 1, 1, 0},
                        Case{1, 5, 6, 3, 16, 16, 3, 3, 1, 0}})
    for (const Dtype dtype : kDtypes) {
      Operands operands(p.shape(), dtype);
      for (const int64_t channel : kChannels)
        for (int64_t i = 0; i < operands.shape.terms(); ++i)
          operands.weight.set(static_cast<size_t>(channel * operands.shape.terms() + i), NAN);
      for (size_t i = 0; i < operands.sums.size(); ++i) operands.sums[i] = operands.sum(static_cast<int64_t>(i));
      const Array y(dtype, operands.sums.size());
      for (const std::string& algorithm : algorithms(p.shape(), dtype))
        if (!is_tile(algorithm)) run("with weights of NaN", operands, algorithm, {true, false, true}, y);
    }
}

KERNEL_TEST(conv2d_without_images) {
  const Conv2dShape shape = Case{0, 6, 7, 2, 16, 16, 3, 3, 1, 1}.shape();
  for (const Dtype dtype : kDtypes) {
    const Operands operands(shape, dtype);
    const Array y(dtype, size_t{0});
    for (const std::string& algorithm : algorithms(shape, dtype))
      run("no image", operands, algorithm, {true, false, true}, y);
  }
}

// Tensor cores compute what they can, but for groups of four channels; those of float32 only on request.
KERNEL_TEST(conv2d_choice) {
  const struct {
    Case p;
    const char *in_halves, *in_floats;
  } choices[] = {{{1, 9, 9, 1, 32, 32, 3, 3, 1, 1}, "tensor_gemm", "grouped_direct_3x3"},
                 {{1, 9, 9, 1, 32, 64, 3, 3, 1, 1}, "tensor_gemm", "implicit_gemm"},
                 {{1, 9, 9, 1, 3, 64, 7, 7, 2, 3}, "tensor_gemm", "implicit_gemm"},
                 {{1, 9, 9, 4, 16, 16, 3, 3, 1, 1}, "grouped_tensor_3x3", "grouped_direct_3x3"},
                 {{1, 9, 9, 4, 4, 4, 3, 3, 1, 1}, "grouped_direct_3x3", "grouped_direct_3x3"}};
  for (const auto& [p, in_halves, in_floats] : choices)
    for (const Dtype dtype : kDtypes) {
      const std::string want = dtype == Dtype::kFloat32 ? in_floats : in_halves;
      const std::string got = algorithms(p.shape(), dtype).front();
      check_that(text_of(p.shape(), dtype) + ": by " + got, got == want);
    }
}

// TF32 only where it is asked for.
KERNEL_TEST(conv2d_tf32) {
  for (const Case& p : {Case{2, 5, 7, 1, 16, 24, 1, 1, 1, 0}, Case{1, 9, 11, 1, 3, 16, 7, 7, 2, 3},
                        Case{1, 5, 4, 2, 10, 33, 3, 3, 1, 1}}) {
    Operands operands(p.shape(), Dtype::kFloat32);
    const auto exact = algorithms(p.shape(), Dtype::kFloat32);
    check_that("tensor_gemm_tf32 without tf32",
               std::find(exact.begin(), exact.end(), "tensor_gemm_tf32") == exact.end());
    operands.tf32 = true;
    const Array y(Dtype::kFloat32, operands.sums.size());
    const auto names = algorithms(p.shape(), Dtype::kFloat32, true);
    check_that("no tensor_gemm_tf32", std::find(names.begin(), names.end(), "tensor_gemm_tf32") != names.end());
    run(text_of(p.shape(), Dtype::kFloat32), operands, "tensor_gemm_tf32", {true, false, true}, y);
  }
}
