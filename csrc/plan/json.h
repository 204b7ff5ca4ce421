// JSON of files that anybody may have written: a tree of limited depth and size, or the reason why there is none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lucid.h"

namespace lucid::plan {

struct Json;
using JsonList = std::vector<Json>;
using JsonObject = std::vector<std::pair<std::string, Json>>;  // in the order of the text, each name once

// A number that is no integer of 64 bits, as it is written.
struct OtherNumber {
  std::string text;
  bool is_integer() const { return text.find_first_of(".eE") == std::string::npos; }
};

struct Json {
  std::variant<std::monostate, bool, int64_t, OtherNumber, std::string, JsonList, JsonObject> value;

  // Null if it is of another type.
  template <class Type>
  const Type* as() const {
    return std::get_if<Type>(&value);
  }
};

// Null if there is none of that name.
const Json* find(const JsonObject& object, std::string_view name);

// LUCID_INVALID_ARGUMENT for a text that is no JSON in UTF-8, says a name of an object twice, or is nested too deeply.
lucid_status parse_json(std::string_view text, Json* value);

}  // namespace lucid::plan
