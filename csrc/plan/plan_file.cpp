// Plan files, as lucid/inference/plan_file.py writes and checks them: safetensors, with the graph as JSON among the
// texts of the header.
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "core/arguments.h"
#include "core/status.h"
#include "plan/json.h"
#include "plan/plan.h"
#include "plan/plan_graph.h"
#include "plan/tensor_file.h"

namespace lucid::plan {
namespace {

constexpr std::string_view kFormat = "lucid-plan", kVersion = "2";
constexpr int kLongestText = 80;      // in a message
constexpr size_t kLongestPath = 200;  // likewise: its end, which tells more than its beginning

lucid_status check_format(const TensorFile& file) {
  const std::string_view format = file.text("format"), version = file.text("version");
  if (format != kFormat)
    return fail(LUCID_INVALID_ARGUMENT, "it must be a plan (format %s), got format '%.*s'", kFormat.data(),
                kLongestText, std::string(format).c_str());
  if (version != kVersion)
    return fail(LUCID_INVALID_ARGUMENT, "it must be of version %s, got '%.*s'; compile the model again",
                kVersion.data(), kLongestText, std::string(version).c_str());
  const std::string_view graph = file.text("graph");
  if (checksum(graph.data(), graph.size()) != file.text("checksum"))
    return fail(LUCID_INVALID_ARGUMENT, "its graph is damaged: the checksum is another");
  return ok();
}

lucid_status create(const TensorFile& file, const lucid_plan_load_args& given, lucid_plan** plan) {
  LUCID_CHECK(check_format(file));
  Json graph;
  LUCID_CHECK(parse_json(file.text("graph"), &graph));
  GraphReader reader(file);
  LUCID_CHECK(reader.read(graph));
  lucid_plan_args args{};
  args.size = sizeof args;
  args.context = given.context;
  args.device = given.device;
  args.dtype = given.dtype;
  args.tf32 = given.tf32;
  reader.describe(&args);
  LUCID_CHECK(lucid_plan_create(&args, plan));
  (*plan)->input_names = reader.input_names();
  (*plan)->output_names = reader.output_names();
  return ok();
}

// `open` opens a TensorFile; `source` names it in messages.
template <class Open>
lucid_status load(const char* source, const Open& open, const lucid_plan_load_args* given, lucid_plan** plan) {
  if (plan == nullptr) return fail(LUCID_INVALID_ARGUMENT, "plan_load: the plan must have a place, got NULL");
  *plan = nullptr;
  lucid_plan_load_args args{};
  if (given != nullptr) LUCID_CHECK(complete("plan_load", given, &args));
  const HostScope scope(args.context);
  try {
    TensorFile file;
    lucid_status status = open(&file);
    if (status == LUCID_OK) status = create(file, args, plan);
    if (status == LUCID_OK) return ok();
    const std::string reason = lucid_last_error();
    return fail(status, "plan_load: %s: %s", source, reason.c_str());
  } catch (const std::bad_alloc&) {
    lucid_plan_destroy(*plan);
    *plan = nullptr;
    return fail(LUCID_OUT_OF_MEMORY, "plan_load: %s: no memory for its contents", source);
  }
}

}  // namespace
}  // namespace lucid::plan

extern "C" lucid_status lucid_plan_load(const char* path, const lucid_plan_load_args* args, lucid_plan** plan) {
  using namespace lucid;
  if (path == nullptr) return fail(LUCID_INVALID_ARGUMENT, "plan_load: path must be that of a file, got NULL");
  const size_t length = std::strlen(path);
  const char* source = length > plan::kLongestPath ? path + length - plan::kLongestPath : path;
  return plan::load(source, [&](plan::TensorFile* file) { return file->open(path); }, args, plan);
}

extern "C" lucid_status lucid_plan_load_buffer(const void* data, size_t bytes, const lucid_plan_load_args* args,
                                               lucid_plan** plan) {
  using namespace lucid;
  if (data == nullptr) return fail(LUCID_INVALID_ARGUMENT, "plan_load: data must be the bytes of a file, got NULL");
  return plan::load("the buffer", [&](plan::TensorFile* file) { return file->open(data, bytes); }, args, plan);
}
