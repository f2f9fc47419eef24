// SPDX-License-Identifier: Apache-2.0
// -1 is everybody and 0 the own process group (kill(2)): a test that did not find its process must fail, not end the machine's.
const kill = process.kill.bind(process);

process.kill = (pid, signal) => {
  if (!Number.isInteger(pid) || pid === -1 || pid === 0 || pid === 1) throw new Error(`no process to signal: ${pid}`);
  return kill(pid, signal);
};
