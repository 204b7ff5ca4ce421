// The OpenMP runtimes of this process, of which most belong to others.
#pragma once

#include <string>
#include <vector>

namespace lucid {

// Paths of all that are loaded: beside the one of this build, PyTorch, scikit-learn and others bring their own.
std::vector<std::string> openmp_runtimes();

// Lets the threads that wait for the calling one's next parallel region sleep. They wait awake for milliseconds (7 in
// libgomp, 200 in Intel's), on processors that others want: a plan of 12 ms took 19 between convolutions of PyTorch's,
// on two processors. libgomp ends its threads for it and starts them anew, which took 78 us for two.
void rest_openmp_runtimes();

}  // namespace lucid
