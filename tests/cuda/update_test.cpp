// Updates of a parameter in place: every setting, dtype and way to lie in memory.
#include <algorithm>
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;
using lucid::UpdateTensors;

namespace {

struct Case {
  const char* name;
  std::vector<int64_t> size, first, others;  // strides of the first tensor, and those of the others
  int64_t first_elements, other_elements;
  size_t shift;  // of the first tensor in its memory
};

const Case kCases[] = {
    {"dense", {600}, {1}, {1}, 600, 600, 0},
    {"odd", {3, 85}, {85, 1}, {85, 1}, 255, 255, 0},
    {"off a vector's place", {120}, {1}, {1}, 120, 120, 1},
    {"columns first", {8, 16}, {1, 8}, {16, 1}, 128, 128, 0},
    {"rows that begin anywhere", {3, 8}, {8, 1}, {11, 1}, 24, 33, 0},
    {"between others", {5, 7, 3}, {90, 12, 2}, {21, 3, 1}, 450, 105, 0},
    {"one element", {1}, {7}, {1}, 1, 1, 0},
    {"empty", {0}, {1}, {1}, 0, 0, 0},
};

int64_t place_of(const Case& c, int64_t element, const std::vector<int64_t>& strides) {
  int64_t place = 0;
  for (size_t d = c.size.size(); d-- > 0;) {
    place += element % c.size[d] * strides[d];
    element /= c.size[d];
  }
  return place;
}

// An array of each tensor, of which the values are not negative where they are means of squares.
template <int kCount>
struct Tensors {
  Array first, second, third, fourth;

  Tensors(const Case& c, Dtype dtype)
      : first(dtype, random_values(c.first_elements, 1, 2.0), c.shift),
        second(dtype, random_values(c.other_elements, 2)),
        third(dtype, random_values(c.other_elements, 3)),
        fourth(dtype, random_values(c.other_elements, 4, 0.5, 0.6)) {}

  const Array& operator[](int tensor) const {
    const Array* all[] = {&first, &second, &third, &fourth};
    return *all[tensor];
  }

  UpdateTensors<kCount> described(const Case& c) const {
    UpdateTensors<kCount> tensors{};
    tensors.dims = static_cast<int32_t>(c.size.size());
    std::copy(c.size.begin(), c.size.end(), tensors.size);
    for (int i = 0; i < kCount; ++i) {
      tensors.data[i] = (*this)[i].data();
      const std::vector<int64_t>& strides = i == 0 ? c.first : c.others;
      std::copy(strides.begin(), strides.end(), tensors.stride[i]);
    }
    return tensors;
  }

  // What all tensors hold when update(values) has changed the values of each element.
  template <class Update>
  std::vector<Expected> expected(const Case& c, double roundings, const Update& update) const {
    std::vector<std::vector<Value>> want(kCount);
    for (int i = 0; i < kCount; ++i) {
      for (size_t k = 0; k < (*this)[i].size(); ++k) want[i].push_back({(*this)[i].at(k), 0.0});
    }
    int64_t count = 1;
    for (const int64_t extent : c.size) count *= extent;
    for (int64_t element = 0; element < count; ++element) {
      Value* values[kCount];
      for (int i = 0; i < kCount; ++i)
        values[i] = &want[i][static_cast<size_t>(place_of(c, element, i == 0 ? c.first : c.others))];
      update(values);
    }
    std::vector<Expected> all;
    for (int i = 0; i < kCount; ++i) all.push_back({(*this)[i], want[i], roundings});
    return all;
  }

  std::vector<const Array*> arrays() const { return {&first, &second, &third, &fourth}; }
};

void run_sgd(const Case& c, Dtype dtype, lucid::SgdUpdate update) {
  const Tensors<3> tensors(c, dtype);
  update.tensors = tensors.described(c);
  const lucid::cuda::SgdUpdate p{.dtype = dtype, .update = update};
  check(
      text_of("sgd_update, %s, %s, momentum %g, decay %g%s%s", c.name, name_of(dtype), update.momentum,
              update.weight_decay, update.nesterov ? ", nesterov" : "", update.is_first_step ? ", first step" : ""),
      tensors.arrays(), [&] { return backend().sgd_update(p, nullptr); },
      tensors.expected(c, 4.0, [&](Value* const(&values)[3]) {
        Value &parameter = *values[0], &buffer = *values[2], step;
        step.add(values[1]->value);
        step.add(update.weight_decay * parameter.value);
        if (update.has_buffer) {
          const Value before = buffer, gradient = step;
          buffer = update.is_first_step ? gradient : Value{};
          if (!update.is_first_step) {
            buffer.add(update.momentum * before.value);
            buffer.add(update.undamped * gradient.value);
          }
          step = buffer;
          if (update.nesterov) {
            step = gradient;
            step.add(update.momentum * buffer.value);
          }
        }
        parameter.magnitude = std::fabs(parameter.value) + update.lr * step.magnitude;
        parameter.value -= update.lr * step.value;
      }));
}

void run_adamw(const Case& c, Dtype dtype, lucid::AdamwUpdate update) {
  const Tensors<4> tensors(c, dtype);
  update.tensors = tensors.described(c);
  const lucid::cuda::AdamwUpdate p{.dtype = dtype, .update = update};
  check(
      text_of("adamw_update, %s, %s, beta1 %g, eps %g", c.name, name_of(dtype), update.beta1, update.eps),
      tensors.arrays(), [&] { return backend().adamw_update(p, nullptr); },
      tensors.expected(c, 12.0, [&](Value* const(&values)[4]) {
        Value &parameter = *values[0], &mean = *values[2], &square = *values[3];
        const double gradient = values[1]->value, before = mean.value, square_before = square.value;
        mean = {};
        mean.add(update.beta1 * before);
        mean.add(update.fresh1 * gradient);
        square = {};
        square.add(update.beta2 * square_before);
        square.add(update.fresh2 * gradient * gradient);
        const double divisor = update.root_scale * std::sqrt(square.value) + update.eps;
        const double step = update.step_size * mean.value / divisor;
        const double kept = update.kept * parameter.value;
        parameter = {kept - step, std::fabs(kept) + update.step_size * mean.magnitude / divisor};
      }));
}

void run_average(const Case& c, Dtype dtype, float fresh) {
  const Tensors<2> tensors(c, dtype);
  const lucid::cuda::AverageUpdate p{.dtype = dtype, .update = {.tensors = tensors.described(c), .fresh = fresh}};
  check(
      text_of("average_update, %s, %s, %g of the parameter", c.name, name_of(dtype), fresh), tensors.arrays(),
      [&] { return backend().average_update(p, nullptr); }, tensors.expected(c, 4.0, [&](Value* const(&values)[2]) {
        Value& average = *values[0];
        const double kept = average.value;
        average = {};
        average.add((1.0 - fresh) * kept);
        average.add(fresh * values[1]->value);
      }));
}

// An infinite parameter that does not decay, and one that is not a number.
void run_special() {
  const std::vector<float> parameters = {INFINITY, -INFINITY, NAN, 1.0f};
  const Array parameter(Dtype::kFloat32, parameters), gradient(Dtype::kFloat32, {1.0f, 1.0f, 1.0f, NAN});
  lucid::SgdUpdate update{.tensors = {.data = {parameter.data(), gradient.data(), parameter.data()}, .dims = 1},
                          .lr = 0.5f,
                          .undamped = 1.0f};
  update.tensors.size[0] = 4;
  for (auto& stride : update.tensors.stride) stride[0] = 1;
  const lucid::cuda::SgdUpdate p{.dtype = Dtype::kFloat32, .update = update};
  check("sgd_update of what is not finite", {&parameter, &gradient}, [&] { return backend().sgd_update(p, nullptr); },
        {{parameter, {{INFINITY, 0.0}, {-INFINITY, 0.0}, {NAN, 0.0}, {NAN, 0.0}}, 1.0}});
}

}  // namespace

KERNEL_TEST(update) {
  const lucid::SgdUpdate plain{.lr = 0.25f, .undamped = 1.0f};
  lucid::SgdUpdate momentum = plain, nesterov = plain, first = plain;
  momentum.has_buffer = nesterov.has_buffer = first.has_buffer = true;
  momentum.momentum = nesterov.momentum = first.momentum = 0.75f;
  momentum.undamped = first.undamped = 0.5f;
  nesterov.weight_decay = first.weight_decay = 0.125f;
  nesterov.nesterov = first.is_first_step = true;
  const lucid::AdamwUpdate adamw{.beta1 = 0.75f,
                                 .beta2 = 0.875f,
                                 .fresh1 = 0.25f,
                                 .fresh2 = 0.125f,
                                 .kept = 0.9375f,
                                 .step_size = 0.5f,
                                 .root_scale = 2.0f,
                                 .eps = 0.01f};
  for (const Dtype dtype : kDtypes)
    for (const Case& c : kCases) {
      for (const lucid::SgdUpdate& update : {plain, momentum, nesterov, first}) run_sgd(c, dtype, update);
      run_adamw(c, dtype, adamw);
      run_average(c, dtype, 0.25f);
    }
  run_special();
}
