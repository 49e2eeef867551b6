#pragma once
#include <ev.h>
#include <string.h>
