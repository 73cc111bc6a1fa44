// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_state.c - the state machine of a queue pair as modify_qp sees it (IB
 * specification, volume 1, 10.3.1 and table 96).
 */
#include "tz_qp.h"

struct tz_transition {
	bool valid;
	u32 required;
	u32 optional;
};

#define TZ_INIT_ATTRS	(TZ_QP_PKEY_INDEX | TZ_QP_PORT | TZ_QP_ACCESS_FLAGS)
#define TZ_LIVE_ATTRS	(TZ_QP_CUR_STATE | TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS | \
			 TZ_QP_MIN_RNR_TIMER | TZ_QP_PATH_MIG_STATE)

typedef const struct tz_transition tz_table[TZ_STATES][TZ_STATES];

static tz_table tz_rc = {
	[TZ_RESET] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_INIT]	= { .valid = true, .required = TZ_INIT_ATTRS },
	},
	[TZ_INIT] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_INIT]	= { .valid = true, .optional = TZ_INIT_ATTRS },
		[TZ_RTR]	= {
			.valid = true,
			.required = TZ_QP_AV | TZ_QP_PATH_MTU | TZ_QP_DEST_QPN |
				    TZ_QP_RQ_PSN | TZ_QP_MAX_DEST_RD_ATOMIC |
				    TZ_QP_MIN_RNR_TIMER,
			.optional = TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS |
				    TZ_QP_PKEY_INDEX,
		},
	},
	[TZ_RTR] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= {
			.valid = true,
			.required = TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT |
				    TZ_QP_RNR_RETRY | TZ_QP_SQ_PSN |
				    TZ_QP_MAX_QP_RD_ATOMIC,
			.optional = TZ_LIVE_ATTRS,
		},
	},
	[TZ_RTS] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_LIVE_ATTRS },
		[TZ_SQD]	= {
			.valid = true,
			.optional = TZ_QP_EN_SQD_ASYNC_NOTIFY,
		},
	},
	[TZ_SQD] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_LIVE_ATTRS },
		[TZ_SQD]	= {
			.valid = true,
			.optional = TZ_QP_PORT | TZ_QP_AV | TZ_QP_TIMEOUT |
				    TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY |
				    TZ_QP_MAX_QP_RD_ATOMIC |
				    TZ_QP_MAX_DEST_RD_ATOMIC |
				    TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS |
				    TZ_QP_PKEY_INDEX | TZ_QP_MIN_RNR_TIMER |
				    TZ_QP_PATH_MIG_STATE,
		},
	},
	[TZ_SQE] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true },	/* no RC QP is ever there */
	},
	[TZ_ERR] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
	},
};

#define TZ_UC_LIVE	(TZ_QP_CUR_STATE | TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS | \
			 TZ_QP_PATH_MIG_STATE)

static tz_table tz_uc = {
	[TZ_RESET] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_INIT]	= { .valid = true, .required = TZ_INIT_ATTRS },
	},
	[TZ_INIT] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_INIT]	= { .valid = true, .optional = TZ_INIT_ATTRS },
		[TZ_RTR]	= {
			.valid = true,
			.required = TZ_QP_AV | TZ_QP_PATH_MTU | TZ_QP_DEST_QPN |
				    TZ_QP_RQ_PSN,
			.optional = TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS |
				    TZ_QP_PKEY_INDEX,
		},
	},
	[TZ_RTR] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= {
			.valid = true,
			.required = TZ_QP_SQ_PSN,
			.optional = TZ_UC_LIVE,
		},
	},
	[TZ_RTS] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_UC_LIVE },
		[TZ_SQD]	= {
			.valid = true,
			.optional = TZ_QP_EN_SQD_ASYNC_NOTIFY,
		},
	},
	[TZ_SQD] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_UC_LIVE },
		[TZ_SQD]	= {
			.valid = true,
			.optional = TZ_QP_AV | TZ_QP_ALT_PATH |
				    TZ_QP_ACCESS_FLAGS | TZ_QP_PKEY_INDEX |
				    TZ_QP_PATH_MIG_STATE,
		},
	},
	[TZ_SQE] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= {
			.valid = true,
			.optional = TZ_QP_CUR_STATE | TZ_QP_ACCESS_FLAGS,
		},
	},
	[TZ_ERR] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
	},
};

#define TZ_UD_INIT	(TZ_QP_PKEY_INDEX | TZ_QP_PORT | TZ_QP_QKEY)
#define TZ_UD_LIVE	(TZ_QP_CUR_STATE | TZ_QP_QKEY)

static tz_table tz_ud = {
	[TZ_RESET] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_INIT]	= { .valid = true, .required = TZ_UD_INIT },
	},
	[TZ_INIT] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_INIT]	= { .valid = true, .optional = TZ_UD_INIT },
		[TZ_RTR]	= {
			.valid = true,
			.optional = TZ_QP_PKEY_INDEX | TZ_QP_QKEY,
		},
	},
	[TZ_RTR] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= {
			.valid = true,
			.required = TZ_QP_SQ_PSN,
			.optional = TZ_UD_LIVE,
		},
	},
	[TZ_RTS] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_UD_LIVE },
		[TZ_SQD]	= {
			.valid = true,
			.optional = TZ_QP_EN_SQD_ASYNC_NOTIFY,
		},
	},
	[TZ_SQD] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_UD_LIVE },
		[TZ_SQD]	= {
			.valid = true,
			.optional = TZ_QP_PKEY_INDEX | TZ_QP_QKEY,
		},
	},
	[TZ_SQE] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
		[TZ_RTS]	= { .valid = true, .optional = TZ_UD_LIVE },
	},
	[TZ_ERR] = {
		[TZ_RESET]	= { .valid = true },
		[TZ_ERR]	= { .valid = true },
	},
};

bool tz_state_modify_ok(u32 type, enum tz_state from, enum tz_state to, u32 mask)
{
	const struct tz_transition *t;

	if ((u32)from >= TZ_STATES || (u32)to >= TZ_STATES)
		return false;
	switch (type) {
	case TZ_QPT_RC:
		t = &tz_rc[from][to];
		break;
	case TZ_QPT_UC:
		t = &tz_uc[from][to];
		break;
	case TZ_QPT_UD:
		t = &tz_ud[from][to];
		break;
	default:
		return false;
	}
	if (!t->valid || (mask & t->required) != t->required)
		return false;
	return !(mask & ~(t->required | t->optional | TZ_QP_STATE));
}
