// SPDX-License-Identifier: Apache-2.0
#include "launch.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "account.h"
#include "plan.h"
#include "planner.h"
#include "probes.h"
#include "serve.h"

enum { REPLY_TEXT = 1, REPLY_ASK = 2, REPLY_PLAN = 3, MAX_ATTEMPTS = 8 };

// u32 exit status, bytes for stdout, bytes for stderr.
static int print_text(const char *body, size_t size, struct fault *why)
{
	uint32_t word[2];
	size_t at = sizeof word[0];
	const char *part[2];
	if (size < at)
		return fault(why, 0, "the planner's text ends early");
	memcpy(&word[0], body, sizeof word[0]);
	int status = (int)(le32toh(word[0]) & 0xff);
	for (int i = 0; i < 2; i++) {
		if (size - at < sizeof word[i])
			return fault(why, 0, "the planner's text ends early");
		memcpy(&word[i], body + at, sizeof word[i]);
		at += sizeof word[i];
		word[i] = le32toh(word[i]);
		if (size - at < word[i])
			return fault(why, 0, "the planner's text ends early");
		part[i] = body + at;
		at += word[i];
	}
	int failed = write_exactly(1, part[0], word[0]) ? errno : 0;
	(void)!write_exactly(2, part[1], word[1]);
	return failed ? fault(why, failed, "write to stdout") : status;
}

// Sends what was asked for. A planner that is gone is noticed when its reply is read, so that its last words are told.
static void send_facts(int fd, struct buffer *facts)
{
	struct fault ignored;
	frame_write(fd, facts, &ignored);
	buffer_free(facts);
}

// Most plans serve the image: the server can open it while Node starts. -1: none.
static int prepare_server(const struct bundle *bundle)
{
	const struct section *payload = bundle_section(bundle, "payload");
	return payload ? serve_prepare(bundle->file, payload->offset, payload->size) : -1;
}

// Request and probes. The probes run while Node starts.
static int tell_planner(const struct bundle *bundle, const struct bundle *carrier, const struct runtime *runtime, const struct planner *planner, char **argv,
	int *server, struct fault *why)
{
	struct buffer facts = { 0 };
	struct probes probes;
	if (probes_start(&probes, why))
		return -1;
	request_facts(bundle, carrier, runtime, argv, &facts);
	send_facts(planner->request, &facts);
	if (*server < 0)
		*server = prepare_server(bundle);
	account_start();
	probes_finish(&probes, &facts);
	send_facts(planner->request, &facts);
	return 0;
}

// Serves questions until the answer is a text or a plan. 0 or -1; closed before a reply: why->error 0 and the text "closed".
static int read_reply(const struct planner *planner, struct buffer *reply, struct fault *why)
{
	for (;;) {
		struct buffer facts = { 0 };
		if (frame_read(planner->reply, reply, why))
			return -1;
		if (!reply->size || reply->data[0] != REPLY_ASK)
			return 0;
		int failed = answer_questions(reply->data + 1, reply->size - 1, &facts, why);
		buffer_free(reply);
		if (failed)
			return -1;
		send_facts(planner->request, &facts);
	}
}

// Its number means another process here, or none.
static void disown_planner(void *arg)
{
	struct planner *planner = arg;
	planner->pid = -1;
}

static void reap_planner(void *planner)
{
	planner_end(planner);
}

// What a hook asks for while it runs.
static int consult_planner(void *arg, struct buffer *facts, struct plan *plan, struct buffer *reply, struct fault *why)
{
	struct planner *planner = arg;
	send_facts(planner->request, facts);
	if (read_reply(planner, reply, why))
		return -1;
	int kind = reply->size ? reply->data[0] : 0;
	if (kind == REPLY_TEXT)
		return print_text(reply->data + 1, reply->size - 1, why) < 0 ? -1 : 1;
	if (kind != REPLY_PLAN)
		return fault(why, 0, "the planner's reply is of the unknown kind %d", kind);
	return plan_decode(plan, reply->data + 1, reply->size - 1, why);
}

// The planner waited for what the hooks say, and answers with the rest.
static int resume_planner(void *arg, struct buffer *facts, struct plan *rest, int *status, struct fault *why)
{
	struct planner *planner = arg;
	struct buffer reply = { 0 };
	send_facts(planner->request, facts);
	if (read_reply(planner, &reply, why)) {
		if ((why->error && why->error != EIO) || (!why->error && strcmp(why->text, "closed")))
			return -1;
		planner_explain(planner, planner_reap(planner));
		*status = EXIT_OWN_FAILURE;
		return 1;
	}
	planner_dismiss(planner);
	int kind = reply.size ? reply.data[0] : 0;
	if (kind == REPLY_TEXT) {
		*status = print_text(reply.data + 1, reply.size - 1, why);
		buffer_free(&reply);
		return *status < 0 ? -1 : 1;
	}
	if (kind != REPLY_PLAN)
		return fault(why, 0, "the planner's reply is of the unknown kind %d", kind);
	// The plan points into the reply, which is needed until the command starts.
	static struct buffer kept;
	kept = reply;
	return plan_decode(rest, kept.data + 1, kept.size - 1, why);
}

static int obey(const struct bundle *bundle, struct planner *planner, int server, const struct buffer *reply, struct fault *why)
{
	const struct section *payload = bundle_section(bundle, "payload");
	struct plan plan;
	struct plan_end end = {
		.finish = reap_planner, .resume = resume_planner, .consult = consult_planner, .disown = disown_planner, .arg = planner,
		.server = server, .image_offset = payload ? payload->offset : 0, .image_size = payload ? payload->size : 0,
	};
	int kind = reply->size ? reply->data[0] : 0;
	if (kind == REPLY_TEXT) {
		planner_dismiss(planner);
		int status = print_text(reply->data + 1, reply->size - 1, why);
		reap_planner(planner);
		return status;
	}
	if (kind != REPLY_PLAN)
		return fault(why, 0, "the planner's reply is of the unknown kind %d", kind);
	if (plan_decode(&plan, reply->data + 1, reply->size - 1, why))
		return -1;
	// Its end goes on while the plan is obeyed.
	if (!plan_resumes(&plan))
		planner_dismiss(planner);
	return plan_run(&plan, bundle->file, &end);
}

int launch(const struct bundle *bundle, const struct bundle *carrier, char **argv)
{
	struct runtime runtime;
	struct planner planner;
	struct buffer reply = { 0 };
	struct fault why = { 0 };
	int status, server = -1;
	struct identity damaged, *known = NULL;
	for (int attempt = 0;; attempt++) {
		if (runtime_get(carrier, &runtime, known, &why) || planner_start(carrier, &runtime, &planner, &why))
			fault_die(&why, EXIT_OWN_FAILURE);
		int failed = tell_planner(bundle, carrier, &runtime, &planner, argv, &server, &why) || read_reply(&planner, &reply, &why);
		// One that closed its end before its reply was complete is ending by itself: its own status says why, ours would not.
		int crashed = failed && ((!why.error && !strcmp(why.text, "closed")) || why.error == EIO);
		if (!failed)
			break;
		status = crashed ? planner_reap(&planner) : planner_end(&planner);
		if (!crashed)
			fault_die(&why, EXIT_OWN_FAILURE);
		// Somebody may clear the cache, or unpack anew what was damaged, between our look at the list and the last file that Node opens.
		int may_heal = attempt < MAX_ATTEMPTS && *runtime.cache && planner_could_not_run(status), gone = may_heal && runtime_is_gone(carrier, &runtime);
		if (!gone && (!may_heal || known || strcmp(runtime.from, "warm"))) {
			planner_explain(&planner, status);
			return EXIT_OWN_FAILURE;
		}
		if (!gone) {
			warn("the runtime unpacked in %s is damaged: unpacking it again", runtime.cache);
			damaged = runtime.identity;
			known = &damaged;
		}
		close_fd(&planner.errors);
	}
	account_forget();
	status = obey(bundle, &planner, server, &reply, &why);
	buffer_free(&reply);
	if (status < 0)
		fault_die(&why, EXIT_OWN_FAILURE);
	return status;
}
