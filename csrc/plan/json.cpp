// The parser is nlohmann-json's, of which nothing else in the library knows. It hands over what it reads piece by
// piece, without exceptions and without recursion, so that a hostile text can be refused in the middle.
#include "plan/json.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>

#include "core/status.h"

namespace lucid::plan {
namespace {

// A plan's graph is nested 5 deep. A tree is destroyed by recursion.
constexpr size_t kDeepest = 100;
// In memory a value takes twenty times its text. A node of a plan has about 25.
constexpr int64_t kMostValues = int64_t{1} << 22;
constexpr int kLongestName = 80;  // in a message

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(Json* root) : root_(root) {}
  lucid_status status() const { return status_; }

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(number_integer_t value) override { return add({int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override {
    return value <= INT64_MAX ? add({static_cast<int64_t>(value)}) : add({OtherNumber{std::to_string(value)}});
  }
  bool number_float(number_float_t, const string_t& text) override { return add({OtherNumber{text}}); }
  bool string(string_t& text) override { return add({std::move(text)}); }
  bool binary(binary_t&) override { return false; }  // of other formats

  bool start_object(size_t) override { return open({JsonObject()}); }
  bool key(string_t& name) override {
    std::get<JsonObject>(open_.back()->value).emplace_back(std::move(name), Json{});
    return true;
  }
  bool end_object() override {
    const auto& object = std::get<JsonObject>(open_.back()->value);
    std::vector<std::string_view> names;
    for (const auto& [name, value] : object) names.emplace_back(name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end())
      return refuse(fail(LUCID_INVALID_ARGUMENT, "its JSON must have each name once, got '%.*s' twice", kLongestName,
                         std::string(*twice).c_str()));
    open_.pop_back();
    return true;
  }
  bool start_array(size_t) override { return open({JsonList()}); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return refuse(fail(LUCID_INVALID_ARGUMENT, "its JSON must be well-formed, got an error before byte %zu", position));
  }

 private:
  bool refuse(lucid_status status) {
    status_ = status;
    return false;
  }

  // Where the next value goes. What is open is the last part of what it stands in, so that it does not move.
  Json* place() {
    if (open_.empty()) return root_;
    if (auto* list = std::get_if<JsonList>(&open_.back()->value)) return &list->emplace_back();
    return &std::get<JsonObject>(open_.back()->value).back().second;
  }

  bool add(Json value) {
    if (++count_ > kMostValues)
      return refuse(fail(LUCID_INVALID_ARGUMENT, "its JSON must have at most %lld values, got more",
                         static_cast<long long>(kMostValues)));
    *place() = std::move(value);
    return true;
  }

  bool open(Json container) {
    if (open_.size() == kDeepest)
      return refuse(fail(LUCID_INVALID_ARGUMENT, "its JSON must be nested at most %zu deep, got more", kDeepest));
    Json* added = place();
    open_.push_back(added);
    *added = std::move(container);
    return true;
  }

  Json* root_;
  std::vector<Json*> open_;
  int64_t count_ = 0;
  lucid_status status_ = LUCID_OK;
};

}  // namespace

const Json* find(const JsonObject& object, std::string_view name) {
  const auto found = std::find_if(object.begin(), object.end(), [&](const auto& entry) { return entry.first == name; });
  return found != object.end() ? &found->second : nullptr;
}

lucid_status parse_json(std::string_view text, Json* value) {
  // The parser takes a zero for the end, and would skip a byte order mark.
  if (text.find('\0') != text.npos || text.starts_with("\xEF\xBB\xBF"))
    return fail(LUCID_INVALID_ARGUMENT, "its JSON must begin and end with a value, got a zero or a byte order mark");
  Builder builder(value);
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return ok();
  return builder.status();
}

}  // namespace lucid::plan
