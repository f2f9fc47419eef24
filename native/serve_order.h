// SPDX-License-Identifier: Apache-2.0
// What a file server that was made in advance still has to be told. It goes over the socket as descriptors: one of the order itself, then those of
// the keeper of a mount that is shared.
#pragma once
#include "serve.h"

// Sends it. 0, or -1 with errno: the server is gone or there is no memory.
int serve_order_send(int socket, const struct serve_config *config);

// In the server: waits for it and fills config, but for its file, offset and size; what it points to stays for ever. keeper: for its keeper.
// 0; -1 when nobody will send one, or it makes no sense.
int serve_order_receive(int socket, struct serve_config *config, struct keeper *keeper);
