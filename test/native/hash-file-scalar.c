// SPDX-License-Identifier: Apache-2.0
// hash-file with the implementation that uses no SHA instructions: this one comes before the archive's. Usage: hash-file-scalar FILE
#define SHA256_SCALAR
#include "../../native/sha256.c"
#include "hash-file.c"
