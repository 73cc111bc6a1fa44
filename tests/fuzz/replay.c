// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * replay.c - runs a fuzz target over files and directories, without libFuzzer:
 * with any compiler and any sanitizer.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max)
{
	return size;
}

static const char *replay_file = "";
static unsigned long replayed;

static void on_fail(void)
{
	fprintf(stderr, "replay: failed on %s\n", replay_file);
}

static void run_file(const char *path, size_t size)
{
	u8 *data = malloc(size + 1);
	FILE *f = fopen(path, "rb");

	BED_CHECK(f && data, "%s: cannot be read", path);
	replay_file = path;
	BED_CHECK(fread(data, 1, size, f) == size, "%s: short read", path);
	fclose(f);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	replayed++;
}

static void run(const char *path)
{
	struct dirent *e;
	struct stat st;
	DIR *d;

	BED_CHECK(!stat(path, &st), "%s: not there", path);
	if (!S_ISDIR(st.st_mode)) {
		run_file(path, st.st_size);
		return;
	}
	d = opendir(path);
	BED_CHECK(d, "%s: cannot be opened", path);
	while ((e = readdir(d))) {
		char name[4096];

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		run(name);
	}
	closedir(d);
}

int main(int argc, char **argv)
{
	int i;

	bed_on_fail = on_fail;
	for (i = 1; i < argc; i++)
		run(argv[i]);
	printf("%lu inputs\n", replayed);
	return replayed ? 0 : 1;
}
