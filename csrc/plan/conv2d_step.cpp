#include <algorithm>

#include "ops/conv2d.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

class Conv2dStep final : public Step {
 public:
  Conv2dStep(const Conv2dProblem& problem, const Conv2dAlgorithm& algorithm, const Value& x, const Value* residual,
             const Value& y, const Value* row_sums)
      : problem_(problem), algorithm_(algorithm), x_(x), residual_(residual), y_(y), row_sums_(row_sums) {
    problem_.y = y.view(nullptr);
    if (residual != nullptr) problem_.residual = residual->view(nullptr);
  }

  const char* algorithm() const override { return algorithm_.name; }
  int64_t weight_floats() const override { return panels() * panel_floats(); }
  void pack_weights(float* prepared) override {
    parallel_for(panels(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) algorithm_.prepare(problem_, i, prepared + i * panel_floats());
    });
    problem_.weight = problem_.bias = nullptr;  // the caller's
    problem_.prepared = prepared;
    const OutputView view = x_.view(nullptr);
    problem_.x_has_halo = !x_.stays_outside;
    if (problem_.x_has_halo) {
      problem_.x_c = 1;
      problem_.x_n = view.image, problem_.x_h = view.row, problem_.x_w = view.pixel, problem_.x_block = view.block;
    }
  }
  void prefetch_next(const Conv2dStep* next) { next_ = next; }

  int64_t scratch_floats(int team) const override {
    const Conv2dShares shares(problem_, algorithm_, team);
    int64_t floats = 0;
    for (int64_t i = 0; i < shares.count(); ++i)
      floats = std::max(floats, algorithm_.scratch_floats(problem_, shares[i]));
    return floats;
  }

  double largest_share(int team) const override {
    const Conv2dShares shares(problem_, algorithm_, team);
    int64_t largest = 0;
    for (int64_t i = 0; i < shares.count(); ++i) {
      const Conv2dShare s = shares[i];
      largest = std::max(largest, (s.panel_end - s.panel_begin) * (s.row_end - s.row_begin));
    }
    return static_cast<double>(largest) / static_cast<double>(panels() * algorithm_.rows(problem_));
  }

  void run(const Run& run, const Team& team, float* scratch) const override {
    Conv2dProblem p = problem_;
    p.y = y_.view(run.arena);
    if (residual_ != nullptr) p.residual = residual_->view(run.arena);
    if (row_sums_ != nullptr) p.row_sums = row_sums_->rows(run.arena);
    if (p.x_has_halo) {
      p.x = x_.view(run.arena).data;
    } else {
      const ImageView& x = run.inputs[x_.input];
      p.x = x.data;
      p.x_n = x.stride_n, p.x_c = x.c == 1 ? 1 : x.stride_c, p.x_h = x.stride_h, p.x_w = x.stride_w, p.x_block = kBlock;
    }
    const Conv2dShares shares(p, algorithm_, team.size());
    for (int64_t i = team.begin(shares.count()); i < team.end(shares.count()); ++i) {
      Conv2dShare share = shares[i];
      if (next_ != nullptr) {
        share.next = next_->first_weight(team);
        share.next_floats = next_->panel_floats();
      }
      algorithm_.run(p, share, scratch);
    }
    clear_margins(y_, run.arena, team);
  }

 private:
  int64_t panels() const { return algorithm_.panels(problem_); }
  int64_t panel_floats() const { return algorithm_.panel_floats(problem_); }

  const float* first_weight(const Team& team) const {
    const Conv2dShares shares(problem_, algorithm_, team.size());
    const int64_t first = team.begin(shares.count());
    return first < shares.count() ? problem_.prepared + shares[first].panel_begin * panel_floats() : nullptr;
  }

  Conv2dProblem problem_;
  const Conv2dAlgorithm& algorithm_;
  const Value& x_;
  const Value* residual_;
  const Value& y_;
  const Value* row_sums_;
  const Conv2dStep* next_ = nullptr;
};

}  // namespace

std::unique_ptr<Step> conv2d_step(const Conv2dProblem& problem, const Conv2dAlgorithm& algorithm, const Value& x,
                                  const Value* residual, const Value& y, const Value* row_sums) {
  return std::make_unique<Conv2dStep>(problem, algorithm, x, residual, y, row_sums);
}

void prefetch_weights_of(Step& step, const Step* next) {
  if (auto* conv = dynamic_cast<Conv2dStep*>(&step)) conv->prefetch_next(dynamic_cast<const Conv2dStep*>(next));
}

}  // namespace lucid::plan
